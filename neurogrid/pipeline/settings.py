"""From the config's sections to the settings of each part."""

import math
from dataclasses import replace

from neurogrid.backends.spark import ExchangeSettings
from neurogrid.config import Config
from neurogrid.data.sampling import SamplingSettings
from neurogrid.fl.attack import AttackSettings
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.codecs import Codec, Quantised, RandK, Sign, TopK
from neurogrid.fl.local import LocalSettings
from neurogrid.fl.pipeline import AggregationSettings
from neurogrid.fl.rounds import RoundSettings
from neurogrid.fl.schedule import ScheduleSettings
from neurogrid.fl.select import SelectSettings
from neurogrid.teacher.settings import Device, Precision, TeacherSettings
from neurogrid.workloads.meters.agent import TrainingSettings
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.evaluation import BoostingSettings, EvaluationSettings
from neurogrid.workloads.meters.models import LossSettings, ModelSettings
from neurogrid.workloads.meters.personal import PersonalSettings
from neurogrid.workloads.meters.registry import MODELS
from neurogrid.workloads.meters.windows import WindowSettings

_LOOKS_AT_FINE_TUNING = 2
"""So short a training rarely gets worse, and each look costs a few steps."""


def sampling(config: Config) -> SamplingSettings:
    """See SamplingSettings."""
    return SamplingSettings(seed=config.seed, **config.sampling.model_dump(exclude={"manifest"}))


def windows(config: Config) -> WindowSettings:
    """See WindowSettings."""
    model = config.model
    quantiles = tuple(model.quantiles)
    return WindowSettings(model.history_slots, model.horizon_slots, model.known_future, model.residual, quantiles)


def model(config: Config) -> ModelSettings:
    """See ModelSettings."""
    section = config.model
    params = {**MODELS.find(section.name).params, **section.params}
    return ModelSettings(section.name, section.hidden, section.layers, section.surge_hidden, params)


def loss(config: Config) -> LossSettings:
    """See LossSettings."""
    section = config.local
    return LossSettings(section.loss, section.huber_delta, section.surge_weight, tuple(config.model.quantiles))


def local(config: Config) -> LocalSettings:
    """See LocalSettings."""
    others = {"loss", "huber_delta", "surge_weight", "distill_weight", "private_layers"}
    return LocalSettings(**config.local.model_dump(exclude=others))


def training(config: Config) -> TrainingSettings:
    """See TrainingSettings."""
    return TrainingSettings(
        windows=windows(config),
        model=model(config),
        loss=loss(config),
        local=local(config),
        rounds=config.rounds.count,
        validation_windows=config.rounds.panel_windows,
        cache_mb=config.backend.cache_mb,
        seed=config.seed,
        private=tuple(config.local.private_layers),
    )


def rounds(config: Config) -> RoundSettings:
    """See RoundSettings."""
    section, aggregation = config.rounds, config.aggregation
    return RoundSettings(
        rounds=section.count,
        agents_per_round=section.agents_per_round,
        timeout_s=section.timeout_s,
        panel_agents=section.panel_agents,
        patience_rounds=section.patience_rounds,
        min_improvement=section.min_improvement,
        converged_update=section.converged_update,
        aggregation=AggregationSettings(
            rule=aggregation.rule,
            byzantine_share=aggregation.byzantine_share,
            weight_cap=aggregation.weight_cap,
            min_agents=section.min_agents,
            clip=ClipSettings(**aggregation.clip.model_dump()),
            server_momentum=section.server_momentum,
            server_step=section.server_step,
            scope=aggregation.scope,
            stages=tuple(aggregation.stages),
            bucket_size=aggregation.bucket_size,
        ),
        select=SelectSettings(section.select, section.select_floor),
        schedule=ScheduleSettings(section.schedule, section.quorum, section.buffer, section.max_staleness),
    )


def codec(config: Config) -> Codec | None:
    """How updates travel; None is as float32."""
    section = config.uplink
    match section.codec:
        case "f32":
            return None
        case "q8":
            return Quantised()
        case "sign":
            return Sign()
        case "topk":
            return TopK(section.share, section.values)
        case "randk":
            return RandK(section.share, section.values)


def attack(config: Config) -> AttackSettings | None:
    """See AttackSettings; None where no attack is to be simulated."""
    return None if config.attack.kind == "none" else AttackSettings(**config.attack.model_dump())


def exchange(config: Config) -> ExchangeSettings:
    """See ExchangeSettings."""
    return ExchangeSettings(**config.backend.model_dump(exclude={"kind", "cache_mb", "replace_after_s"}))


def teacher(config: Config, device: Device) -> TeacherSettings:
    """See TeacherSettings."""
    section = config.teacher
    size = replace(
        model(config), hidden=section.hidden or config.model.hidden, layers=section.layers or config.model.layers
    )
    auto: Precision = "bf16" if device == "gpu" else "fp32"
    given = section.model_dump(exclude={"id", "households", "share", "apart", "hidden", "layers"})
    return TeacherSettings(
        **{**given, "device": device, "precision": auto if section.precision == "auto" else section.precision},
        windows=windows(config),
        model=size,
        loss=loss(config),
        seed=config.seed,
    )


def central(config: Config, steps: int) -> CentralSettings:
    """How a rival of the federation is trained in one place."""
    return CentralSettings(
        windows=windows(config),
        model=model(config),
        loss=loss(config),
        local=local(config),
        steps=steps,
        learning_rates=tuple(config.evaluation.learning_rates),
        validation_windows=config.rounds.panel_windows * config.rounds.panel_agents or 1024,
        seed=config.seed,
    )


def _steps_each(config: Config) -> int:
    """As many as an agent takes in the federation, on average."""
    return math.ceil(_steps_together(config) / config.sampling.agents)


def _steps_together(config: Config) -> int:
    # What others do with less than the federation says nothing about it.
    return config.rounds.count * config.rounds.agents_per_round * config.local.steps


def personal(config: Config) -> PersonalSettings | None:
    """See PersonalSettings; None where no agent makes a model of its own."""
    section = config.personal
    if not section.steps:
        return None
    tuning = replace(
        central(config, section.steps),
        local=replace(local(config), batch_size=section.batch_size, proximal_mu=section.proximal_mu),
        learning_rates=tuple(section.learning_rates),
        validation_windows=section.validation_windows,
        looks=_LOOKS_AT_FINE_TUNING,
    )
    # Nothing of `evaluation` in it: that may change after a run, and what agents keep is told by these settings.
    own = replace(
        central(config, section.alone_steps or _steps_each(config)),
        learning_rates=tuple(section.alone_learning_rates),
    )
    return PersonalSettings(tuning, tuple(section.candidates), section.parts, own)


def evaluation(config: Config) -> EvaluationSettings:
    """See EvaluationSettings."""
    section = config.evaluation
    return EvaluationSettings(
        windows=windows(config),
        model=model(config),
        comparisons=tuple(section.comparisons),
        alone=central(config, section.alone_steps or _steps_each(config)),
        pooled=central(config, section.pooled_steps or _steps_together(config)),
        boosting=BoostingSettings(windows(config), config.seed),
        seed=config.seed,
        show_households=config.show_households,
        private=training(config) if config.local.private_layers else None,
    )
