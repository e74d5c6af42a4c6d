"""From a warehouse of households to a federation: clusters, held-out households, agents, districts, the manifest.

`sample` is one Spark pass over the meters and a small KMeans; the rest is seeded arithmetic in partition.py. The
manifest's bytes depend on the warehouse's files and the settings only.
"""

import io
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from neurogrid.data.clusters import Clustering, cluster_profiles
from neurogrid.data.household import HouseholdMeta
from neurogrid.data.manifest import Agent, Manifest, Part
from neurogrid.data.partition import Kind, Stage, Week, deal_districts, deal_weeks, draw
from neurogrid.data.profiles import MEASURES, Profile, profile_households
from neurogrid.data.progress import unseen
from neurogrid.errors import UsageError
from neurogrid.plural import plural
from neurogrid.storage import Place

_DAYS_A_BLOCK = 7
_Hand = tuple[int, list[tuple[int, tuple[int, ...] | None]]]
"""An agent to be: its cluster, and for each household (by index) the weeks it holds, None for all."""


@dataclass(frozen=True)
class SamplingSettings:
    """How a federation is drawn.

    Attributes:
        seed: of every draw.
        agents: number of agents.
        districts: number of districts, which the agents are dealt to evenly.
        clusters: k of KMeans.
        held_out_share: share of usable households that never train, 0 to below 1.
        partition: `natural` (an agent is a household), `iid` or `dirichlet` (agents hold weeks of many households).
        dirichlet_alpha: concentration; the smaller, the more unlike the agents.
        min_observed_slots: a household with fewer measured training slots is not used.
        max_zero_share: a household whose measured training slots are zero more often than this is not used.
    """

    seed: int
    agents: int
    districts: int
    clusters: int
    held_out_share: float
    partition: Kind
    dirichlet_alpha: float
    min_observed_slots: int
    max_zero_share: float


def sample(
    spark: SparkSession,
    warehouse: Place,
    settings: SamplingSettings,
    progress: Callable[[int, int], None] = unseen,
) -> Manifest:
    """Draws a federation and writes it to `manifests/<first 12 digits of its SHA-256>/`.

    Beside `manifest.json` stands `profiles.parquet`: every household seen, with its measures, cluster and role.
    `progress` is called with households read so far and in all.

    Raises:
        UsageError: the warehouse or the settings cannot give this federation; says the numbers.
    """
    _refuse_impossible(settings)
    profiles = profile_households(spark, warehouse, progress)
    unusable = _unusable(profiles, settings)
    usable = [profile for profile in profiles if profile.path not in unusable]
    held_count = round(len(usable) * settings.held_out_share)
    _refuse_too_few(settings, len(profiles), len(usable), held_count)

    clustering = cluster_profiles(spark, usable, settings.clusters, settings.seed)
    by_id = {profile.household_id: profile for profile in usable}
    cluster_of = {profile.household_id: n for profile, n in zip(usable, clustering.numbers, strict=True)}
    # Chosen first, so that the held-out households stay the same whatever the number of agents.
    held = draw(_strata(cluster_of, set()), held_count, settings.seed, "held out")
    rest = _strata(cluster_of, set(held))
    trained = draw(rest, min(settings.agents, len(usable) - held_count), settings.seed, "sampled agents")

    held_out = [_whole(f"H{i:04d}", by_id[h], cluster_of[h], -1) for i, h in enumerate(held, 1)]
    agents = _agents([by_id[h] for h in trained], [cluster_of[h] for h in trained], settings)
    idle = sorted(set(by_id) - set(trained) - set(held))
    drawn = f"usable, not drawn: {len(trained)} of {len(usable) - held_count} train"
    reasons = unusable | {by_id[household].path: drawn for household in idle}
    used = [by_id[h] for h in sorted([*trained, *held])]
    manifest = Manifest(
        seed=settings.seed,
        cadence_minutes=_meta(usable[0]).cadence_minutes,
        partition=settings.partition,
        districts=settings.districts,
        silhouette=clustering.silhouette,
        clusters=clustering.clusters,
        agents=tuple(agents),
        held_out=tuple(held_out),
        unused=tuple(f"{p.household_id}: {reasons[p.path]}" for p in profiles if p.path in reasons),
        fingerprints={profile.path: profile.sha256 for profile in used},
    )
    roles = {by_id[h].path: "held out" for h in held} | {by_id[h].path: "trained" for h in trained}
    folder = warehouse / "manifests" / manifest.sha256[:12]
    (folder / "profiles.parquet").write(_profiles_parquet(profiles, clustering, usable, roles, reasons))
    # Last, so that a folder with a manifest is whole.
    (folder / "manifest.json").write(manifest.to_json())
    return manifest


def _refuse_impossible(settings: SamplingSettings) -> None:
    n = settings.agents
    if not 1 <= settings.districts <= n:
        raise UsageError(
            f"{plural(n, 'agent')} cannot fill {plural(settings.districts, 'district')}",
            found=f"sampling.agents = {n}, sampling.districts = {settings.districts}",
            fix=f"take 1 to {n} districts",
        )


def _refuse_too_few(settings: SamplingSettings, seen: int, usable: int, held_out: int) -> None:
    numbers = f"{usable} usable of {seen} households, {held_out} of them held out"
    if usable == 0:
        raise UsageError(
            "no household is usable",
            found=f"{numbers}; a usable one has at least {settings.min_observed_slots} measured training slots",
            fix="see quality/report.md for what is wrong with the files, or lower sampling.min_observed_slots",
        )
    if settings.clusters > usable:
        raise UsageError(
            f"{settings.clusters} clusters need at least as many households",
            found=numbers,
            fix=f"set sampling.clusters to at most {usable}",
        )
    left = usable - held_out
    if left == 0 or (settings.partition == "natural" and settings.agents > left):
        raise UsageError(
            f"there are too few households for {plural(settings.agents, 'agent')}, each of which needs one to train on",
            found=numbers,
            fix=f"take at most {plural(left, 'agent')}, or a sampling.held_out_share smaller than "
            f"{settings.held_out_share:g}",
        )


def _unusable(profiles: Sequence[Profile], settings: SamplingSettings) -> dict[str, str]:
    """Why a household cannot be used, by path of its file."""
    cadences = Counter(profile.meta.cadence_minutes for profile in profiles if profile.meta)
    # One model has one cadence: that of most households, the finer at a tie.
    cadence = min(cadences, key=lambda minutes: (-cadences[minutes], minutes), default=0)
    reasons: dict[str, str] = {}
    seen: set[str] = set()
    for profile in profiles:
        if profile.meta is None:
            reasons[profile.path] = profile.problem
        elif profile.meta.cadence_minutes != cadence:
            reasons[profile.path] = f"slots of {profile.meta.cadence_minutes} minutes, most have {cadence}"
        elif profile.observed_training_slots < max(1, settings.min_observed_slots):
            reasons[profile.path] = (
                f"{plural(profile.observed_training_slots, 'measured training slot')}, "
                f"{max(1, settings.min_observed_slots)} needed"
            )
        elif profile.measures["zero_share"] > settings.max_zero_share:
            reasons[profile.path] = (
                f"{profile.measures['zero_share']:.1%} of measured training slots are zero, "
                f"at most {settings.max_zero_share:.0%} allowed"
            )
        elif profile.household_id in seen:
            reasons[profile.path] = f"{profile.path}: a second file of the same household"
        else:
            seen.add(profile.household_id)
    return reasons


def _strata(cluster_of: dict[str, int], without: set[str]) -> dict[int, list[str]]:
    strata: dict[int, list[str]] = defaultdict(list)
    for household in sorted(cluster_of):
        if household not in without:
            strata[cluster_of[household]].append(household)
    return strata


def _agents(households: list[Profile], clusters: list[int], settings: SamplingSettings) -> list[Agent]:
    """Agents in the order of their districts, numbered from A0001."""
    if settings.partition == "natural":
        hands: list[_Hand] = [(cluster, [(i, None)]) for i, cluster in enumerate(clusters)]
    else:
        hands = _dealt_hands(households, clusters, settings)
    district = deal_districts([cluster for cluster, _ in hands], settings.districts, settings.seed)
    agents = []
    for number, i in enumerate(sorted(range(len(hands)), key=lambda i: (district[i], i)), 1):
        cluster, parts = hands[i]
        agents.append(_agent(f"A{number:04d}", [(households[h], blocks) for h, blocks in parts], cluster, district[i]))
    return agents


def _dealt_hands(households: list[Profile], clusters: list[int], settings: SamplingSettings) -> list[_Hand]:
    """For each agent the cluster that most of its weeks are of, and its weeks by household."""
    weeks = [
        Week(i, block, clusters[i], stage)
        for i, profile in enumerate(households)
        for block, stage in enumerate(_stages(_meta(profile)))
        # No window starts in a household's first week: the slot of a week before is among what a forecast is made of.
        if block > 0
    ]
    hands: list[_Hand] = []
    for hand in deal_weeks(weeks, settings.agents, settings.partition, settings.dirichlet_alpha, settings.seed):
        blocks: dict[int, list[int]] = defaultdict(list)
        for week in hand:
            blocks[week.household].append(week.block)
        kinds = Counter(week.kind for week in hand)
        cluster = min(kinds, key=lambda kind: (-kinds[kind], kind))
        hands.append((cluster, [(i, tuple(blocks[i])) for i in sorted(blocks)]))
    return hands


def _stages(meta: HouseholdMeta) -> list[Stage]:
    train, validation = _slots_before(meta, meta.train_end), _slots_before(meta, meta.validation_end)
    step = _slots_a_block(meta)
    return [
        "train" if min(start + step, meta.rows) <= train else "validation" if start < validation else "test"
        for start in range(0, meta.rows, step)
    ]


def _slots_a_block(meta: HouseholdMeta) -> int:
    return _DAYS_A_BLOCK * 24 * 60 // meta.cadence_minutes


def _slots_before(meta: HouseholdMeta, moment: datetime) -> int:
    return math.ceil((moment - meta.first).total_seconds() / (60 * meta.cadence_minutes))


def _whole(agent_id: str, profile: Profile, cluster: int, district: int) -> Agent:
    return _agent(agent_id, [(profile, None)], cluster, district)


def _agent(
    agent_id: str, parts: Sequence[tuple[Profile, tuple[int, ...] | None]], cluster: int, district: int
) -> Agent:
    first = _meta(parts[0][0])
    return Agent(
        agent_id=agent_id,
        parts=tuple(_part(p, blocks) for p, blocks in parts),
        cluster=cluster,
        district=district,
        rows=sum(_rows(_meta(profile), blocks) for profile, blocks in parts),
        first=first.first,
        train_end=first.train_end,
        validation_end=first.validation_end,
        last=first.last,
    )


def _part(profile: Profile, blocks: tuple[int, ...] | None) -> Part:
    return Part(_meta(profile).household_id, _meta(profile).weather_id, blocks, profile.path.rsplit("/", 1)[-1])


def _rows(meta: HouseholdMeta, blocks: Iterable[int] | None) -> int:
    if blocks is None:
        return meta.rows
    step = _slots_a_block(meta)
    return sum(min((block + 1) * step, meta.rows) - block * step for block in blocks)


def _meta(profile: Profile) -> HouseholdMeta:
    if profile.meta is None:
        raise ValueError(f"{profile.path} was not read")
    return profile.meta


def _profiles_parquet(
    profiles: Sequence[Profile],
    clustering: Clustering,
    usable: Sequence[Profile],
    roles: dict[str, str],
    reasons: dict[str, str],
) -> bytes:
    cluster = {profile.path: number for profile, number in zip(usable, clustering.numbers, strict=True)}
    columns: dict[str, pa.Array] = {
        "household_id": pa.array([p.household_id for p in profiles], pa.string()),
        "weather_id": pa.array([p.meta.weather_id if p.meta else None for p in profiles], pa.string()),
        "role": pa.array([roles.get(p.path, "unused") for p in profiles], pa.string()),
        "reason": pa.array([reasons.get(p.path, "") for p in profiles], pa.string()),
        "cluster": pa.array([cluster.get(p.path) for p in profiles], pa.int32()),
        "observed_training_slots": pa.array([p.observed_training_slots for p in profiles], pa.int64()),
        **{name: pa.array([p.measures.get(name) for p in profiles], pa.float64()) for name in MEASURES},
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()
