"""Kinds of households: MLlib KMeans on their profiles, and each cluster in words. Used by sampling.py.

The result depends on the profiles and the seed only: the rows stand in order in one partition, and clusters are
numbered by their mean load, so neither cores nor the order of files matter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import SparkSession

from neurogrid.data.manifest import Cluster
from neurogrid.data.profiles import MEASURES, Profile

Floats = npt.NDArray[np.float64]

WORDS = {
    "mean_kwh": ("high use", "low use"),
    "peak_kwh": ("high peaks", "low peaks"),
    "load_factor": ("even load", "spiky load"),
    "night_share": ("much at night", "little at night"),
    "evening_share": ("evening peak", "no evening peak"),
    "weekend_ratio": ("more at weekends", "less at weekends"),
    "temperature_correlation": ("more when warm", "more when cold"),
    "zero_share": ("many zeros", "few zeros"),
    "missing_share": ("many gaps", "few gaps"),
}
"""What to call a cluster that lies above or below the other households, in the order in which it is said."""

_NOTABLE, _STRONG = 0.5, 1.25  # in standard deviations between households
_MOST_WORDS = 4


@dataclass(frozen=True)
class Clustering:
    """Who is in which cluster.

    Attributes:
        numbers: cluster of each profile, from 0, in ascending order of mean load.
        clusters: what each cluster is.
        silhouette: mean silhouette (squared Euclidean, -1 to 1) over households; 0 with fewer than two clusters.
    """

    numbers: tuple[int, ...]
    clusters: tuple[Cluster, ...]
    silhouette: float


def cluster_profiles(spark: SparkSession, profiles: Sequence[Profile], k: int, seed: int) -> Clustering:
    """KMeans on standardised profiles. Fewer than `k` clusters come back where there are fewer distinct profiles.

    A measure that a household lacks (temperature without weather) stands at the mean of those that have it, so it
    neither attracts nor repels; one that is the same for all has no say.
    """
    values = np.array([[profile.measures[name] for name in MEASURES] for profile in profiles], np.float64)
    have = np.isfinite(values)
    means = np.where(have, values, 0).sum(0) / np.maximum(have.sum(0), 1)
    filled = np.where(have, values, means)
    labels, silhouette = _kmeans(spark, filled, k, seed)
    mean_load = {label: float(filled[labels == label, 0].mean()) for label in sorted(set(labels.tolist()))}
    order = {label: i for i, label in enumerate(sorted(mean_load, key=lambda label: (mean_load[label], label)))}
    numbers = np.array([order[label] for label in labels.tolist()])
    clusters = tuple(_cluster(i, values, filled, numbers == i) for i in range(len(order)))
    return Clustering(tuple(numbers.tolist()), clusters, silhouette)


def _kmeans(spark: SparkSession, values: Floats, k: int, seed: int) -> tuple[npt.NDArray[np.int64], float]:
    nothing = np.zeros(len(values), np.int64)
    if k < 2 or len(np.unique(values, axis=0)) < 2:
        return nothing, 0.0
    # MLlib's Python side loads in most of a second, which only sampling has to wait for.
    from pyspark.ml.clustering import KMeans  # noqa: PLC0415
    from pyspark.ml.evaluation import ClusteringEvaluator  # noqa: PLC0415
    from pyspark.ml.feature import StandardScaler  # noqa: PLC0415
    from pyspark.ml.linalg import Vectors  # noqa: PLC0415

    rows = [(i, Vectors.dense(row)) for i, row in enumerate(values.tolist())]
    # One partition in order: sums inside KMeans are then made in the same order on any number of cores.
    frame = spark.createDataFrame(rows, ["row", "profile"]).coalesce(1)
    scaler = StandardScaler(inputCol="profile", outputCol="features", withMean=True, withStd=True)
    scaled = scaler.fit(frame).transform(frame)
    # MLlib's seed is a Java long.
    model = KMeans(k=k, seed=seed % 2**63, featuresCol="features", predictionCol="cluster").fit(scaled)
    predicted = model.transform(scaled)
    labels = predicted.orderBy("row").select("cluster").toArrow().column("cluster").to_numpy().astype(np.int64)
    if len(set(labels.tolist())) < 2:
        return labels, 0.0
    return labels, float(ClusteringEvaluator(predictionCol="cluster").evaluate(predicted))


def _cluster(number: int, values: Floats, filled: Floats, members: npt.NDArray[np.bool_]) -> Cluster:
    centre = {}
    for column, name in enumerate(MEASURES):
        known = values[members, column]
        known = known[np.isfinite(known)]
        # JSON has no NaN: a measure that nobody here has is left out.
        if len(known):
            centre[name] = float(known.mean())
    return Cluster(number, int(members.sum()), centre, describe(centre, filled))


def describe(centre: dict[str, float], population: Floats) -> str:
    """A cluster's centre in words, relative to all households: what stands out, use first, e.g. `high use, many gaps`.

    Args:
        centre: the cluster's mean of each measure.
        population: (households, measures) in the order of MEASURES.
    """
    distance = {}
    for column, name in enumerate(MEASURES):
        spread = float(population[:, column].std())
        if name in WORDS and name in centre and spread > 1e-12:
            distance[name] = (centre[name] - float(population[:, column].mean())) / spread
    notable = [name for name, z in distance.items() if abs(z) >= _NOTABLE]
    if not notable:
        return "like the average household"
    strongest = sorted(notable, key=lambda name: (-abs(distance[name]), name))[:_MOST_WORDS]
    said = [name for name in WORDS if name in strongest]
    return ", ".join(_word(name, distance[name]) for name in said)


def _word(name: str, z: float) -> str:
    word = WORDS[name][0 if z > 0 else 1]
    more = {"many": "very many", "few": "very few", "much": "very much", "more": "far more", "less": "far less"}
    first, rest = word.split(" ", 1)
    if not math.isfinite(z) or abs(z) < _STRONG or first == "no":
        return word
    if name == "evening_share":
        return f"strong {word}"
    return f"{more.get(first, f'very {first}')} {rest}"
