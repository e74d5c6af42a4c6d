"""How good a model is on households and times that it never trained on, beside what costs less."""

from neurogrid.workloads.meters.evaluation.boosting import BoostingSettings
from neurogrid.workloads.meters.evaluation.evaluate import Comparison, EvaluationSettings, evaluate
from neurogrid.workloads.meters.evaluation.result import Evaluation

__all__ = ["BoostingSettings", "Comparison", "Evaluation", "EvaluationSettings", "evaluate"]
