"""Where a household's time is cut into training, validation and test."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Periods:
    """Slots before `train_end` are for training, before `validation_end` for validation, the rest for test."""

    train_end: int
    validation_end: int


def cut(slots: int, train_share: float, validation_share: float) -> Periods:
    """Cuts at slot boundaries, rounding down. Shares of the household's own time, first to last slot."""
    # The small amount keeps 0.72 * 100 from falling to 71 by its binary form.
    train = int(slots * train_share + 1e-9)
    return Periods(train, max(int(slots * (train_share + validation_share) + 1e-9), train))
