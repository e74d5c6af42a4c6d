"""Every key of the config with its default, its unit and what it means."""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)


def _name(value: Any) -> str:
    """The name of a folder, so neither `.` nor `..`; empty where one is to be made up."""
    if isinstance(value, bool):
        raise ValueError("a name like yes, no, on or off is put in quotes: YAML takes it for a truth value")
    name = str(value)  # YAML takes one of digits for a number
    if not re.fullmatch(r"([A-Za-z0-9_-][A-Za-z0-9._-]*)?", name):
        raise ValueError("a name is made of letters, digits, _, - and ., and does not begin with a dot")
    return name


def _master(value: str) -> str:
    if not re.fullmatch(r"local(\[[^\]]+\])?|local-cluster\[[^\]]+\]|yarn|(spark|k8s)://.+", value):
        raise ValueError(
            "no Spark master: one is local[2], local[*], spark://host:7077, k8s://https://host:6443 or yarn"
        )
    return value


Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Name = Annotated[str, BeforeValidator(_name)]
Master = Annotated[str, AfterValidator(_master)]


def _types(annotation: Any) -> set[Any]:
    return set(get_args(annotation)) or {annotation}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads yes, no, on and off as truth values, and Python counts those among the numbers."""
        if isinstance(value, bool) and {int, float} & _types(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("input should be a number")
        return value


class SparkSection(_Section):
    """Where Spark runs."""

    master: Master = Field("local[*]", description="Spark master; a plain local[n] is made one that retries tasks")
    options: dict[str, str] = Field({}, description="further Spark settings, by their own names")


class SourceSection(_Section):
    """The raw readings."""

    kind: Literal["auto", "heapo", "sgsc"] = Field(
        "auto", description="layout of the files: HEAPO, Smart-Grid Smart-City; auto takes what is there"
    )
    path: str = Field("data", min_length=1, description="folder that holds them (--data-dir)")
    exclude: list[str] = Field([], description="names or patterns of household files to leave out, e.g. 1408.csv")
    limit_households: int = Field(0, ge=0, description="use only the first so many household files by name; 0 is all")


class EtlSection(_Section):
    """From raw files to clean tables."""

    cadence_minutes: int | None = Field(
        15, ge=1, le=60, description="length of a slot in minutes; null keeps the source's own"
    )
    train_share: float = Field(
        0.72, gt=0, lt=1, description="share of each household's time to train on, from its start"
    )
    validation_share: float = Field(0.08, gt=0, lt=1, description="share after that to tune on; the rest is for test")
    trailing_slots: Count = Field(5, description="a gap takes the mean of the measured among so many slots before it")
    weather_last_known_hours: int = Field(
        3, ge=0, description="hours for which the last known weather stands in for a gap"
    )
    surge_percentile: float = Field(
        95.0, gt=50, lt=100, description="a slot above this percentile of the household's training load is a surge"
    )
    max_power_kw: float = Field(
        200.0, gt=0, description="readings of more mean power are absurd: counted and taken as missing, kW"
    )
    longest_gap_days: float = Field(
        400.0, gt=0, description="readings further than this from most others are dropped, days"
    )
    listed_per_kind: Count = Field(20, description="faults of a kind that are listed for a file; all are counted")
    compression: Literal["snappy", "zstd", "lz4", "none"] = Field("snappy", description="of the Parquet files")


class SamplingSection(_Section):
    """Who the agents are."""

    manifest: str = Field("", description="id or path of a manifest to use as it is (--manifest); empty draws one")
    agents: Count = Field(61, description="number of agents (--agents)")
    districts: Count = Field(3, description="number of districts that agents are dealt to")
    clusters: int = Field(4, ge=2, description="k of KMeans over the households' profiles")
    held_out_share: Share = Field(0.2, description="share of usable households that never train")
    partition: Literal["natural", "iid", "dirichlet"] = Field(
        "natural", description="an agent is a household; or agents hold weeks of many households"
    )
    dirichlet_alpha: float = Field(0.5, gt=0, description="concentration of the dirichlet partition; small is unlike")
    min_observed_slots: Count = Field(960, description="households with fewer measured training slots are not used")
    max_zero_share: float = Field(
        0.95, gt=0, le=1, description="households that measured zero more often in training are not used"
    )


class ModelSection(_Section):
    """The forecaster."""

    name: Literal["city_lstm", "linear"] = Field("city_lstm", description="encoder-decoder LSTM, or a linear model")
    hidden: Count = Field(48, description="width of the LSTMs and of the forecast's head")
    layers: Count = Field(1, description="LSTM layers, each of encoder and decoder")
    surge_hidden: Count = Field(48, description="width of the surge head")
    history_slots: Count = Field(24, description="slots that the model sees")
    horizon_slots: Count = Field(4, description="slots that it forecasts")
    known_future: bool = Field(
        True, description="the decoder sees what is known of the target slots: lags and profiles of past days"
    )
    residual: bool = Field(
        True, description="forecast the difference from the 28-day median of the slot, and from its usual surges"
    )


class LocalSection(_Section):
    """What an agent does in a round."""

    optimiser: Literal["adam", "sgd"] = Field("adam", description="its state is new each round")
    steps: Count = Field(40, description="gradient steps a round")
    batch_size: Count = Field(64, description="windows a step")
    learning_rate: float = Field(3e-3, gt=0, description="in the first round")
    final_learning_rate_share: float = Field(
        0.05, gt=0, le=1, description="what is left of it in the last round, by a cosine"
    )
    gradient_clip_norm: float = Field(1.0, ge=0, description="L2 norm to which a step's gradient is cut; 0 is no limit")
    proximal_mu: float = Field(0.0, ge=0, description="FedProx: pull towards the round's start; 0 is FedAvg")
    loss: Literal["l1", "huber", "mse"] = Field("l1", description="l1 for MAE, mse for RMSE and sums over households")
    huber_delta: float = Field(1.0, gt=0, description="where Huber's loss turns linear, in the household's deviations")
    surge_weight: float = Field(1.0, ge=0, description="weight of the surge head's cross-entropy; 0 trains none")
    distill_weight: float = Field(
        0.0, ge=0, description="weight of the distance from rounds.teacher's forecast in the loss; 0 does without"
    )


class RoundsSection(_Section):
    """The rounds."""

    count: Count = Field(60, description="rounds (--rounds)")
    teacher: str = Field(
        "", description="id or path of a teacher to start from, or with local.distill_weight to learn from (--teacher)"
    )
    agents_per_round: Count = Field(15, description="agents that train in a round; all, if there are fewer")
    min_agents: Count = Field(1, description="with fewer usable updates a round is void: the model stays as it is")
    timeout_s: Seconds = Field(120.0, description="agents that have not answered by then cost their update, seconds")
    server_momentum: float = Field(0.9, ge=0, lt=1, description="of the server's running sum of changes; 0 is FedAvg")
    server_step: float = Field(0.5, gt=0, description="share of that sum that is applied")
    panel_agents: int = Field(16, ge=0, description="agents on whose validation windows each round's model is judged")
    panel_windows: Count = Field(64, description="validation windows of each of them")
    patience_rounds: int = Field(0, ge=0, description="stop after so many rounds without improvement; 0 never stops")
    min_improvement: float = Field(
        0.001, ge=0, lt=1, description="share of the held-out loss that counts as improvement"
    )
    converged_update: float = Field(
        0.0,
        ge=0,
        description="stop when the relative change of the weights stays below this for patience_rounds; 0 never",
    )


class ClipSection(_Section):
    """How updates are clipped before anything else."""

    to: Literal["median", "fixed", "none"] = Field("median", description="the round's median norm, or `norm`")
    per: Literal["tensor", "update"] = Field(
        "tensor", description="clip each tensor by itself (stops concentrated updates), or the whole update"
    )
    norm: float = Field(1.0, gt=0, description="L2 norm for `fixed`")


class AggregationSection(_Section):
    """How updates become one change of the model."""

    rule: Literal["mean", "median", "trimmed_mean", "krum", "multi_krum", "nnm_trimmed_mean"] = Field(
        "trimmed_mean", description="robust filter over all agents, before district and city means"
    )
    byzantine_share: float = Field(
        0.2, ge=0, lt=0.5, description="share of a round's agents that the rule bears as malicious; f is its whole part"
    )
    weight_cap: float = Field(2.0, ge=1, description="no agent weighs more than so many times the median agent")
    clip: ClipSection = Field(ClipSection(), description="clipping of updates")


class AttackSection(_Section):
    """Malicious agents, for experiments."""

    kind: Literal["none", "scale", "sign_flip", "noise"] = Field("none", description="attack (--byzantine-attack)")
    fraction: float = Field(0.2, ge=0, lt=1, description="share of agents that attack (--byzantine-fraction)")
    placement: Literal["fixed", "per_round"] = Field(
        "fixed", description="the same agents throughout, or as many of each round's agents anew"
    )
    scale: float = Field(10.0, description="factor of the scale attack")
    noise_std: float = Field(1.0, gt=0, description="standard deviation of the noise attack, in the weights' unit")


class BackendSection(_Section):
    """Where a round's agents run. Changes no result."""

    kind: Literal["spark", "inline"] = Field("spark", description="resident Spark tasks, or this process")
    tasks: int = Field(0, ge=0, description="resident tasks; 0 is one for each free core")
    cache_mb: Count = Field(2000, description="memory that one task may spend on agents' readings, MB")
    driver_host: str = Field("", description="name under which tasks reach the driver; empty finds it")
    bind_address: str = Field("", description="address on which the driver listens; empty finds it")
    port: int = Field(0, ge=0, le=65535, description="port on which the driver listens; 0 is any free one")
    lost_after_s: Seconds = Field(
        5.0, description="a task silent for so long is lost and its agents go to others, seconds"
    )
    join_timeout_s: Seconds = Field(60.0, description="how long to wait for tasks before giving up, seconds")
    replace_after_s: Seconds = Field(
        15.0, description="on Kubernetes, an executor without tasks for so long, and not ready, is replaced, seconds"
    )
    stop_grace_s: Seconds = Field(5.0, description="how long a task may take to end at the end, seconds")
    batch_bytes: Count = Field(8_000_000, description="most bytes of deltas in one message")
    loopback_tls: bool = Field(False, description="TLS also where nothing leaves the machine; it always is elsewhere")


class TeacherSection(_Section):
    """A model pretrained on households whose people agreed; see docs/teacher.md. Its loss is that of `local`."""

    id: Name = Field("", description="name of the teacher; empty takes the time of its start")
    households: list[Annotated[str, BeforeValidator(str)]] = Field(
        [], description="ids of the households to teach, whose people consented or whose readings are public"
    )
    share: float = Field(
        0.0, ge=0, le=1, description="instead of a list: share to draw of the usable households that are not held out"
    )
    apart: bool = Field(True, description="a share is drawn of households that are no agent's")
    hidden: int = Field(0, ge=0, description="width of the teacher's LSTMs; 0 takes model.hidden")
    layers: int = Field(0, ge=0, description="its LSTM layers; 0 takes model.layers")
    ranks: Count = Field(2, description="processes that train together, each needs a Spark slot")
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="auto is a GPU where Spark gives each task one")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="bf16 is mixed precision; auto takes it on a GPU"
    )
    epochs: Count = Field(12, description="epochs at most")
    epoch_windows: int = Field(65_536, ge=0, description="windows that all ranks draw in an epoch; 0 is all there are")
    batch_size: Count = Field(256, description="windows of all ranks together in one step of the optimiser")
    accumulation: Count = Field(1, description="parts into which each rank cuts its share of a batch")
    learning_rate: float = Field(3e-3, gt=0, description="after the warm-up")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="how the rate falls over all steps")
    warmup_share: Share = Field(0.02, description="share of the steps over which the rate rises from nothing")
    final_learning_rate_share: float = Field(0.05, gt=0, le=1, description="what is left of the rate at the end")
    gradient_clip_norm: float = Field(1.0, ge=0, description="L2 norm to which a step's gradient is cut; 0 is no limit")
    patience_epochs: int = Field(
        3, ge=0, description="stop after so many epochs without improvement on held-out time; 0 never stops"
    )
    min_improvement: float = Field(
        0.001, ge=0, lt=1, description="share of the held-out loss that counts as improvement"
    )
    validation_windows: Count = Field(256, description="held-out windows of each household that an epoch is judged on")
    tries: Count = Field(3, description="how often lost ranks are started before giving up")
    timeout_s: Seconds = Field(120.0, description="how long to wait for slots, and ranks for each other, seconds")


class EvaluationSection(_Section):
    """What the model is compared with."""

    comparisons: list[Literal["ridge", "alone", "pooled"]] = Field(
        ["ridge"], description="dearer comparisons: ridge, the same model trained alone, and pooled"
    )
    alone_steps: Count = Field(600, description="gradient steps of each household that trains alone")
    pooled_steps: Count = Field(6000, description="gradient steps of the pooled model")
    learning_rates: list[Annotated[float, Field(gt=0)]] = Field(
        [1e-3, 3e-3], min_length=1, description="tried for both, best on validation"
    )


class Config(_Section):
    """Everything that can be set."""

    warehouse: str = Field(
        "warehouse", min_length=1, description="path or URI (s3://, gs://, hdfs://) of all that NeuroGrid writes"
    )
    seed: int = Field(1, ge=0, lt=2**63, description="of everything that is drawn")
    run_id: Name = Field("", description="name of the run; empty takes the time of its start")
    spark: SparkSection = Field(SparkSection(), description="where Spark runs")
    source: SourceSection = Field(SourceSection(), description="the raw readings")
    etl: EtlSection = Field(EtlSection(), description="from raw files to clean tables")
    sampling: SamplingSection = Field(SamplingSection(), description="who the agents are")
    model: ModelSection = Field(ModelSection(), description="the forecaster")
    local: LocalSection = Field(LocalSection(), description="what an agent does in a round")
    rounds: RoundsSection = Field(RoundsSection(), description="the rounds")
    aggregation: AggregationSection = Field(AggregationSection(), description="how updates become one change")
    attack: AttackSection = Field(AttackSection(), description="malicious agents, for experiments")
    backend: BackendSection = Field(BackendSection(), description="where a round's agents run; changes no result")
    teacher: TeacherSection = Field(TeacherSection(), description="a model pretrained where people agreed")
    evaluation: EvaluationSection = Field(EvaluationSection(), description="what the model is compared with")

    @property
    def byzantine_f(self) -> int:
        """How many malicious agents the rule has to bear in a round."""
        asked = min(self.rounds.agents_per_round, self.sampling.agents)
        return int(self.aggregation.byzantine_share * asked + 1e-9)

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, raw: Any) -> Any:
        """A section whose keys are all commented out is None in YAML: it sets nothing."""
        if not isinstance(raw, dict):
            return raw
        sections = {name for name, field in cls.model_fields.items() if isinstance(field.default, _Section)}
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
        f, rule = self.byzantine_f, self.aggregation.rule
        if rule in ("trimmed_mean", "nnm_trimmed_mean") and f == 0:
            raise ValueError(
                f"aggregation.rule {rule} would trim nobody: aggregation.byzantine_share "
                f"{self.aggregation.byzantine_share} of {asked} agents is f = 0; raise it, or use the rule mean"
            )
        if rule != "mean" and asked < 2 * f + 3:
            raise ValueError(
                f"{asked} agents a round cannot bear f = {f} malicious ones: {rule} needs 2f + 3 = {2 * f + 3}; "
                "lower aggregation.byzantine_share, or raise rounds.agents_per_round and sampling.agents"
            )
        if self.rounds.min_agents > asked:
            raise ValueError(f"rounds.min_agents {self.rounds.min_agents} is more than the {asked} agents of a round")
        if self.sampling.districts > self.sampling.agents:
            raise ValueError(
                f"sampling.districts {self.sampling.districts} is more than sampling.agents {self.sampling.agents}"
            )
        return self
