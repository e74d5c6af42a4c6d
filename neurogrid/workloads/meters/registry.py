"""The forecasters by name. The config's choices are made of this, so it imports no torch before a model is built.

Others register forecasters of their own as entry points of the group `neurogrid.models`, each a `ModelSpec`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from neurogrid.registry import Registry

if TYPE_CHECKING:
    from neurogrid.workloads.meters.models.forecaster import Forecaster

Scalar = bool | int | float | str
MEDIAN_LEVEL = 0.5
MOST_QUANTILES = 99


@dataclass(frozen=True)
class ModelSpec:
    """A forecaster.

    Attributes:
        name: in the config and in records.
        words: what it is.
        load: gives its class; called where a model is built.
        params: settings of its own beside those that every model has, with their defaults; `model.params` sets them.
        quantiles: whether it gives raw outputs for quantiles where its shape asks for them.
    """

    name: str
    words: str
    load: Callable[[], "type[Forecaster]"]
    params: Mapping[str, Scalar] = field(default_factory=dict)
    quantiles: bool = False

    def refuse_params(self, given: Mapping[str, Scalar]) -> None:
        """Raises ValueError where it has no such setting, or one of another type."""
        for name, value in given.items():
            if name not in self.params:
                known = ", ".join(self.params) or "none"
                raise ValueError(f"model {self.name} has no setting {name}; it has {known}")
            wanted = type(self.params[name])
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise ValueError(f"{name} of model {self.name} is of type {wanted.__name__}, found {value!r}")

    def refuse_quantiles(self, levels: Sequence[float]) -> None:
        """Raises ValueError where it gives no quantiles, or `levels` (none at all is fine) cannot be theirs."""
        if not levels:
            return
        if not self.quantiles:
            able = " or ".join(spec.name for spec in BUILT_IN.values() if spec.quantiles)
            raise ValueError(
                f"model {self.name} forecasts one value and no quantiles; leave quantiles empty, or take {able}"
            )
        if levels[0] <= 0 or levels[-1] >= 1 or any(high <= low for low, high in pairwise(levels)):
            raise ValueError("quantiles should be probabilities above 0 and below 1 that ascend")
        if MEDIAN_LEVEL not in levels:
            raise ValueError("quantiles should contain 0.5, the median, which is the forecast of one value")
        if len(levels) > MOST_QUANTILES:
            raise ValueError(f"there should be at most {MOST_QUANTILES} quantiles")


def _city_lstm() -> "type[Forecaster]":
    from neurogrid.workloads.meters.models.city_lstm import CityLSTM  # noqa: PLC0415 - torch only where a model is built

    return CityLSTM


def _linear() -> "type[Forecaster]":
    from neurogrid.workloads.meters.models.linear import LinearForecaster  # noqa: PLC0415 - as above

    return LinearForecaster


BUILT_IN = {
    spec.name: spec
    for spec in (
        ModelSpec("city_lstm", "encoder-decoder LSTM with attention", _city_lstm, quantiles=True),
        ModelSpec("linear", "a linear map of the window", _linear, quantiles=True),
    )
}
MODELS = Registry("model", "neurogrid.models", ModelSpec, BUILT_IN, lambda loaded: isinstance(loaded, type))
