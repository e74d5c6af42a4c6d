"""The robust rules that are built in, by their names in the config."""

from neurogrid.fl.rules import Rule, bulyan, krum, mean, median, multi_krum, trimmed_mean
from neurogrid.fl.weighing import caf, centred_clipping, geometric_median

RULES: dict[str, Rule] = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "caf": caf,
    "geometric_median": geometric_median,
    "centred_clipping": centred_clipping,
}
"""What the registry's own specs load."""
