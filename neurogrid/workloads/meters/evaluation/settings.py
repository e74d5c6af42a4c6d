"""What an evaluation is asked for."""

from dataclasses import dataclass
from typing import Literal

from neurogrid.workloads.meters.agent import TrainingSettings
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.evaluation.boosting import BoostingSettings
from neurogrid.workloads.meters.models import ModelSettings
from neurogrid.workloads.meters.personal_files import PersonalFiles
from neurogrid.workloads.meters.windows import WindowSettings

Comparison = Literal["ridge", "alone", "pooled", "gbm_alone", "gbm_pooled", "parity"]


@dataclass(frozen=True)
class EvaluationSettings:
    """What is evaluated, against what.

    Attributes:
        windows, model: of the weights.
        comparisons: which of the dearer comparisons to make.
        alone, pooled: how their models are trained.
        boosting: how trees are grown, for those comparisons.
        seed: of the bootstrap.
        show_households: whether forecasts and readings of single households are kept as examples.
        private: how the run's private layers are fitted to each household; None where it has none.
        personal: the run's personal models; None where it has none. Households without one get one here, from their
            own training part, as newcomers would.
    """

    windows: WindowSettings
    model: ModelSettings
    comparisons: tuple[Comparison, ...]
    alone: CentralSettings
    pooled: CentralSettings
    boosting: BoostingSettings
    seed: int
    show_households: bool = True
    private: TrainingSettings | None = None
    personal: PersonalFiles | None = None
