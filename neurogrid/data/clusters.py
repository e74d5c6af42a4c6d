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

STARTS = 5
"""K-means may end in another solution from each start; of so many the one that lies closest to its centres is taken.
It is looked for no longer once it has been found twice."""

_NOTABLE, _STRONG = 0.5, 1.25  # in standard deviations between households
_MOST_WORDS = 4
_MOST_OF_THEM = 0.75  # of a cluster's members, of whom a word has to be true
_ROWS_AT_ONCE = 32  # of a silhouette, each with its distances to all households


@dataclass(frozen=True)
class Clustering:
    """Who is in which cluster.

    Attributes:
        numbers: cluster of each profile, from 0, in ascending order of mean load.
        clusters: what each cluster is.
        silhouette: mean silhouette (Euclidean, -1 to 1) over households; 0 with fewer than two clusters.
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
    from pyspark.ml.linalg import Vectors  # noqa: PLC0415

    spread = values.std(axis=0, ddof=1)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    rows = [(i, Vectors.dense(row)) for i, row in enumerate(scaled.tolist())]
    # One partition in order: sums inside KMeans are then made in the same order on any number of cores.
    frame = spark.createDataFrame(rows, ["row", "features"]).coalesce(1).cache()
    best, labels = math.inf, nothing
    for start in range(STARTS):
        # MLlib's seed is a Java long.
        model = KMeans(k=k, seed=(seed + start) % 2**63, featuresCol="features", predictionCol="cluster").fit(frame)
        cost = model.summary.trainingCost
        if math.isclose(cost, best, rel_tol=1e-9):
            break
        if cost < best:
            best = cost
            predicted = model.transform(frame).orderBy("row").select("cluster").toArrow()
            labels = predicted.column("cluster").to_numpy().astype(np.int64)
    frame.unpersist()
    return labels, silhouette(scaled, labels)


def silhouette(points: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Mean silhouette with Euclidean distances (Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7).

    Args:
        points: (n, measures).
        labels: (n,) cluster of each; a point that is alone in its cluster has silhouette 0.

    Returns:
        -1 to 1; 0 where there are fewer than two clusters.
    """
    numbers = np.unique(labels)
    if len(numbers) < 2:
        return 0.0
    member = (labels[:, None] == numbers).astype(np.float64)
    sizes = member.sum(axis=0)
    total = 0.0
    for start in range(0, len(points), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        sums = np.sqrt(((points[rows, None] - points) ** 2).sum(axis=2)) @ member
        own, others = member[rows] > 0, np.maximum(sizes - member[rows], 1)
        within = (sums / others)[own]
        nearest = np.where(own, np.inf, sums / sizes).min(axis=1)
        lonely = (sizes * member[rows])[own] == 1
        farther = np.maximum(within, nearest)
        apart = (nearest - within) / np.where(farther > 0, farther, 1)
        total += float(np.where(lonely, 0, apart).sum())
    return total / len(points)


def _cluster(number: int, values: Floats, filled: Floats, members: npt.NDArray[np.bool_]) -> Cluster:
    centre = {}
    for column, name in enumerate(MEASURES):
        known = values[members, column]
        known = known[np.isfinite(known)]
        # JSON has no NaN: a measure that nobody here has is left out.
        if len(known):
            centre[name] = float(known.mean())
    return Cluster(number, int(members.sum()), centre, describe(values[members], filled))


def describe(members: Floats, population: Floats) -> str:
    """A cluster in words, relative to all households: what stands out, use first, e.g. `high use, many gaps`.

    By the members' medians, and only what is true of most of them: a mean may be that of one member far out.

    Args:
        members: (members, measures) in the order of MEASURES; NaN where one lacks a measure.
        population: (households, measures).
    """
    distance = {}
    for column, name in enumerate(MEASURES):
        known = members[np.isfinite(members[:, column]), column]
        centre, spread = float(population[:, column].mean()), float(population[:, column].std())
        if name not in WORDS or not len(known) or spread <= 1e-12:
            continue
        far = float(np.median(known)) - centre
        if np.mean((known - centre) * np.sign(far) > 0) >= _MOST_OF_THEM:
            distance[name] = far / spread
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
