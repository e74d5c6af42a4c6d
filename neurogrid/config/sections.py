"""Every key of the config with its default, its unit and what it means."""

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from neurogrid.backends.registry import BACKENDS
from neurogrid.config.federation import AggregationSection, AttackSection, Count, RoundsSection, Seconds
from neurogrid.config.learning import (
    EvaluationSection,
    LocalSection,
    ModelSection,
    PersonalSection,
    TeacherSection,
)
from neurogrid.config.privacy import PrivacySection, refuse_impossible
from neurogrid.config.section import Name, Section, Share, name_of
from neurogrid.config.source import SourceSection
from neurogrid.config.steps import refuse_steps
from neurogrid.config.trust import refuse_trust
from neurogrid.config.uplink import UplinkSection, refuse_uplink
from neurogrid.fl.registry import RULES, RuleSpec, at_least, count


def _master(value: str) -> str:
    if not re.fullmatch(r"local(\[[^\]]+\])?|local-cluster\[[^\]]+\]|yarn|(spark|k8s)://.+", value):
        raise ValueError(
            "not a Spark master such as local[2], local[*], spark://host:7077, k8s://https://host:6443 or yarn"
        )
    return value


Master = Annotated[str, AfterValidator(_master)]
BackendName = Annotated[str, name_of(BACKENDS)]


class SparkSection(Section):
    """Where Spark runs."""

    master: Master = Field("local[*]", description="Spark master; with a local one, failed tasks are retried")
    options: dict[str, str] = Field({}, description="more Spark settings, by their Spark names")


class EtlSection(Section):
    """From raw files to clean tables."""

    cadence_minutes: int | None = Field(
        15, ge=1, le=60, description="length of a slot in minutes; null keeps that of the source"
    )
    train_share: float = Field(
        0.72, gt=0, lt=1, description="share of each household's time to train on, from its start"
    )
    validation_share: float = Field(0.08, gt=0, lt=1, description="share after that to tune on; the rest is to test on")
    trailing_slots: Count = Field(
        5, description="a gap is filled with the mean of the measured values in this many slots before it"
    )
    weather_last_known_hours: int = Field(
        3, ge=0, description="how long a gap in the weather is filled with the last known value, hours"
    )
    surge_percentile: float = Field(
        95.0, gt=50, lt=100, description="a slot above this percentile of the household's training load is a surge"
    )
    max_power_kw: float = Field(
        200.0, gt=0, description="readings with a higher mean power are counted as faults and treated as missing, kW"
    )
    longest_gap_days: float = Field(
        400.0, gt=0, description="readings separated from most others by a longer gap are dropped, days"
    )
    registers: Literal["refuse", "differences"] = Field(
        "refuse", description="files whose values are a meter's register: do not use them, or take the differences"
    )
    net_meters: Literal["refuse", "import", "export", "net"] = Field(
        "refuse", description="files with energies below zero: do not use them, or take import, export or net energy"
    )
    catch_up: Literal["spread", "missing"] = Field(
        "spread", description="readings after a gap that hold its energy: spread them over the gap, or take as missing"
    )
    estimated: Literal["use", "missing"] = Field(
        "use", description="readings that their file marks as estimated: use them, or take them as missing"
    )
    another_source: Literal["refuse", "replace"] = Field(
        "refuse",
        description="readings of other households than the warehouse has: refuse, or let them replace its tables",
    )
    listed_per_kind: Count = Field(20, description="faults of each kind to list for a file; all are counted")
    compression: Literal["snappy", "zstd", "lz4", "none"] = Field("snappy", description="compression of Parquet files")


class SamplingSection(Section):
    """Who the agents are."""

    manifest: str = Field("", description="id or path of an existing manifest to use (--manifest); empty makes one")
    agents: Count = Field(61, description="number of agents (--agents)")
    districts: Count = Field(3, description="number of districts that the agents are divided into")
    clusters: Count = Field(4, description="number of clusters of household profiles (k of k-means)")
    held_out_share: Share = Field(0.2, description="share of usable households that never train")
    partition: Literal["natural", "iid", "dirichlet"] = Field(
        "natural", description="natural: an agent is one household; iid, dirichlet: it holds weeks of many households"
    )
    dirichlet_alpha: float = Field(
        0.5, gt=0, description="concentration of the dirichlet partition; the smaller, the more agents' data differ"
    )
    min_observed_slots: Count = Field(960, description="households with fewer measured training slots are not used")
    max_zero_share: float = Field(
        0.95, gt=0, le=1, description="households with a larger share of zeros in training are not used"
    )


class BackendSection(Section):
    """Where a round's agents run. Changes no result."""

    kind: BackendName = Field("spark", description="name of where they run", examples=[*BACKENDS.names()])
    tasks: int = Field(0, ge=0, description="number of resident tasks; 0 is one for each free core")
    cache_mb: Count = Field(2000, description="memory for agents' readings in each task, MB")
    driver_host: str = Field("", description="host name under which tasks reach the driver; empty detects it")
    bind_address: str = Field("", description="address on which the driver listens; empty detects it")
    port: int = Field(0, ge=0, le=65535, description="port on which the driver listens; 0 is any free one")
    lost_after_s: Seconds = Field(
        5.0, description="time without an answer after which a task's agents are offered to other tasks, seconds"
    )
    join_timeout_s: Seconds = Field(60.0, description="how long to wait for tasks before giving up, seconds")
    replace_after_s: Seconds = Field(
        15.0,
        description="on Kubernetes, time until an executor that has no tasks and is not ready is replaced, seconds",
    )
    stop_grace_s: Seconds = Field(5.0, description="how long a task may take to stop at the end, seconds")
    batch_bytes: Count = Field(8_000_000, description="maximum size of the deltas in one message, bytes")
    loopback_tls: bool = Field(False, description="use TLS also within one machine; between machines it is always used")


class Config(Section):
    """Everything that can be set."""

    warehouse: str = Field(
        "warehouse", min_length=1, description="folder or URI (s3://, gs://) where NeuroGrid writes everything"
    )
    seed: int = Field(1, ge=0, lt=2**63, description="random seed")
    show_households: bool = Field(True, description="whether pages show readings of single households")
    run_id: Name = Field("", description="name of the run; empty uses the time of its start")
    spark: SparkSection = Field(SparkSection(), description="where Spark runs")
    source: SourceSection = Field(SourceSection(), description="the raw readings")
    etl: EtlSection = Field(EtlSection(), description="from raw files to clean tables")
    sampling: SamplingSection = Field(SamplingSection(), description="who the agents are")
    model: ModelSection = Field(ModelSection(), description="the forecaster")
    local: LocalSection = Field(LocalSection(), description="what an agent does in a round")
    rounds: RoundsSection = Field(RoundsSection(), description="the rounds")
    aggregation: AggregationSection = Field(AggregationSection(), description="how updates are combined")
    privacy: PrivacySection = Field(PrivacySection(), description="differential privacy of the run's weights")
    uplink: UplinkSection = Field(UplinkSection(), description="how updates travel from agents to the server")
    attack: AttackSection = Field(AttackSection(), description="malicious agents, for experiments")
    personal: PersonalSection = Field(
        PersonalSection(), description="what each agent makes of the run's last weights for itself"
    )
    backend: BackendSection = Field(BackendSection(), description="where a round's agents run; changes no result")
    teacher: TeacherSection = Field(
        TeacherSection(), description="a model pretrained on households whose residents have consented"
    )
    evaluation: EvaluationSection = Field(EvaluationSection(), description="what the model is compared with")

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, raw: Any) -> Any:
        """A section whose keys are all commented out is None in YAML: it sets nothing."""
        if not isinstance(raw, dict):
            return raw
        sections = {name for name, field in cls.model_fields.items() if isinstance(field.default, Section)}
        return {key: value for key, value in raw.items() if value is not None or key not in sections}

    @model_validator(mode="after")
    def _possible(self) -> "Config":
        """Refuses pairs of values that cannot work together, before anything starts."""
        if self.etl.train_share + self.etl.validation_share >= 1:
            raise ValueError(
                f"etl.train_share + etl.validation_share must leave time to test on: "
                f"{self.etl.train_share} + {self.etl.validation_share} is not below 1"
            )
        asked = min(self.rounds.agents_per_round, self.sampling.agents)
        self._refuse_rules(asked)
        if self.rounds.min_agents > asked:
            raise ValueError(f"rounds.min_agents {self.rounds.min_agents} is more than the {asked} agents of a round")
        if self.rounds.select == "adaptive" and asked == self.sampling.agents:
            raise ValueError(
                f"rounds.select adaptive has nobody to choose from: rounds.agents_per_round "
                f"{self.rounds.agents_per_round} takes all {asked} agents; lower it, or use random"
            )
        if "parity" in self.evaluation.comparisons and not self.personal.steps:
            raise ValueError("evaluation.comparisons parity is about personal models: personal.steps is 0")
        self._refuse_schedule(asked)
        refuse_trust(self)
        refuse_impossible(self)
        refuse_uplink(self.uplink, self._rules)
        if self.model.quantiles and self.local.loss != "l1":
            raise ValueError(
                "model.quantiles are trained by the pinball loss, which is l1 for the median: local.loss "
                f"{self.local.loss} would not be used; set it to l1, or leave model.quantiles empty"
            )
        if self.sampling.districts > self.sampling.agents:
            raise ValueError(
                f"sampling.districts {self.sampling.districts} is more than sampling.agents {self.sampling.agents}"
            )
        return self

    @property
    def _rules(self) -> list[RuleSpec]:
        """In the order in which they judge."""
        before = [name.removeprefix("rule:") for name in self.aggregation.stages if name.startswith("rule:")]
        return [RULES.find(name) for name in (*before, self.aggregation.rule)]

    def _refuse_rules(self, asked: int) -> None:
        """Refuses rules that cannot bear their f of those whom they judge at once."""
        section, where = self.aggregation, ""
        if section.scope == "district":
            asked //= self.sampling.districts
            where = f" in each of {self.sampling.districts} districts"
        f = count(section.byzantine_share, asked)
        rules = self._rules
        for rule in rules:
            if rule.needs_f and f == 0:
                raise ValueError(
                    f"aggregation.rule {rule.name} would cut nothing: aggregation.byzantine_share "
                    f"{section.byzantine_share} of {asked} agents{where} is f = 0; raise it, or use the rule mean"
                )
        if asked < rules[0].least(f):
            raise ValueError(
                f"{asked} agents a round{where} cannot tolerate f = {f} malicious: {rules[0].name} needs "
                f"{rules[0].least_formula} = {rules[0].least(f)}; "
                "lower aggregation.byzantine_share, or raise rounds.agents_per_round and sampling.agents"
            )
        rounds = self.rounds
        closes = rounds.buffer if rounds.schedule == "buffered" else at_least(rounds.quorum, asked)
        refuse_steps(section, asked, min(asked, closes))
        left = asked
        for before, rule in pairwise(rules):
            left = before.left(left, f)
            if left <= 2 * f:
                raise ValueError(
                    f"aggregation.stages: of {asked} agents{where} with f = {f} malicious {before.name} leaves {left}, "
                    f"and {rule.name} after it needs more than 2f = {2 * f}; leave out one of them"
                )

    def _refuse_schedule(self, asked: int) -> None:
        """Refuses a round that closes before all have answered where its rule, its mean or an attack can't do so."""
        rounds, section = self.rounds, self.aggregation
        buffered = rounds.schedule == "buffered"
        if not buffered and rounds.quorum == 1:
            return
        if self.attack.kind in ("alie", "foe", "min_max", "min_sum", "mimic"):
            raise ValueError(
                f"attack.kind {self.attack.kind} is made of all honest updates of a round, and a round here closes "
                "before all have answered; use rounds.schedule sync with a rounds.quorum of 1"
            )
        key = f"rounds.buffer {rounds.buffer}" if buffered else f"rounds.quorum {rounds.quorum:g}"
        updates = rounds.buffer if buffered else at_least(rounds.quorum, asked)
        f, rule = count(section.byzantine_share, asked), self._rules[0]
        if buffered and rounds.quorum < 1:
            raise ValueError("rounds.quorum is of the schedule sync; buffered closes a round by rounds.buffer")
        if updates > asked:
            raise ValueError(f"{key} is more than the {asked} agents that are at work (rounds.agents_per_round)")
        if updates < rounds.min_agents:
            raise ValueError(f"{key} closes a round with {updates} updates, rounds.min_agents is {rounds.min_agents}")
        if updates < rule.least(f):
            raise ValueError(
                f"{key} closes a round with {updates} updates, of which f = {f} may be malicious, since the fastest of "
                f"{asked} agents may be: {rule.name} needs {rule.least_formula} = {rule.least(f)}; raise it, or lower "
                "aggregation.byzantine_share"
            )
        if section.scope == "district":
            raise ValueError(
                f"{key} takes whoever is first, of any district; aggregation.scope district needs them all"
            )
        if buffered and "weigh" not in section.stages:
            raise ValueError("rounds.schedule buffered weighs stale updates less: aggregation.stages needs weigh")
        if buffered and self.attack.kind != "none" and self.attack.placement == "per_round":
            raise ValueError(
                "attack.placement per_round draws attackers among the agents that a round asks, and a buffered round "
                "asks only for those that have answered; use fixed"
            )
