"""How good a model is on households and times that it never trained on, beside what costs less."""

from neurogrid.workloads.meters.evaluation.boosting import BoostingSettings
from neurogrid.workloads.meters.evaluation.evaluate import evaluate
from neurogrid.workloads.meters.evaluation.result import Evaluation
from neurogrid.workloads.meters.evaluation.settings import Comparison, EvaluationSettings

__all__ = ["BoostingSettings", "Comparison", "Evaluation", "EvaluationSettings", "evaluate"]
