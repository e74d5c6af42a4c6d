"""How good a model is on households and times that it never trained on, beside what costs less."""

from neurogrid.evaluation.comparisons import CentralSettings
from neurogrid.evaluation.evaluate import Comparison, EvaluationSettings, evaluate
from neurogrid.evaluation.result import Evaluation

__all__ = ["CentralSettings", "Comparison", "Evaluation", "EvaluationSettings", "evaluate"]
