"""What only a run's own model is asked for: quantiles of each household, and sums of sets of them. Two jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import TypeAdapter

from neurogrid.data.household import Household
from neurogrid.data.manifest import Manifest
from neurogrid.fl.update import AgentId, Vector
from neurogrid.fl.weights import load
from neurogrid.workloads.meters.agent import TrainingSettings, completed
from neurogrid.workloads.meters.evaluation.jobs import HouseholdFile, Jobs, Reader
from neurogrid.workloads.meters.evaluation.quantiles import (
    QuantileFigures,
    QuantileScore,
    quantile_figures,
    score_quantiles,
)
from neurogrid.workloads.meters.evaluation.score import HouseholdScore
from neurogrid.workloads.meters.evaluation.sum_figures import SumFigures, sum_figures
from neurogrid.workloads.meters.evaluation.sums import Group, Sums, add_up, sets, window_number
from neurogrid.workloads.meters.models import Forecaster, ModelSettings, build
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import Period, WindowSettings


@dataclass(frozen=True)
class OwnModel:
    """The run's own model; `weights` are None where it is not among those evaluated.

    Attributes:
        windows, model, seed: of the run.
        weights: the run's.
        private: how private layers are fitted to a household; None where there are none.
        agents: the agent that a household is, by household.
    """

    windows: WindowSettings
    model: ModelSettings
    seed: int
    weights: Vector | None
    private: TrainingSettings | None
    agents: Mapping[str, AgentId]

    def of(self, household: Household) -> Forecaster:
        """The model as it forecasts for a household."""
        assert self.weights is not None
        weights, name = self.weights, household.meta.household_id
        if self.private is not None:
            weights = completed(weights, household, self.private, self.agents.get(name, name))
        model = build(self.model, model_shape(self.windows), seed=self.seed)
        load(model, weights)
        return model


@dataclass(frozen=True)
class Distributions:
    """The two jobs.

    Attributes:
        jobs: carries them out.
        own: the model.
        manifest: whose sets are summed.
        files: tables by household.
    """

    jobs: Jobs
    own: OwnModel
    manifest: Manifest
    files: Mapping[str, HouseholdFile]

    def quantiles(
        self, groups: Mapping[str, Sequence[HouseholdScore]]
    ) -> dict[str, dict[Period, dict[str, QuantileFigures]]]:
        """By group, period and method; empty where the run forecasts no quantiles."""
        levels, seed = self.own.windows.quantiles, self.own.seed
        if not levels or self.own.weights is None:
            return {}
        items = [self.files[score.household_id] for scores in groups.values() for score in scores]

        def is_score(file: HouseholdFile, score: QuantileScore) -> bool:
            return score.is_of(file.household_id, levels)

        found = self.jobs("quantiles", partial(_quantiles, own=self.own), items, TypeAdapter(QuantileScore), is_score)
        by_household = {score.household_id: score for score in found}
        figures = {}
        for group, scores in groups.items():
            quiet = {score.household_id for score in scores if score.quiet}
            own = [by_household[score.household_id] for score in scores]
            figures[group] = quantile_figures(own, quiet, levels, seed=seed, group=group)
        return figures

    def sums(self) -> dict[str, SumFigures]:
        """By set; empty where none is large enough."""
        windows, cadence = self.own.windows, self.manifest.cadence_minutes
        found = sets(self.manifest)
        items = list(dict.fromkeys(group for groups in found.values() for group in groups))
        if not items or self.own.weights is None:
            return {}
        everyone = (*self.manifest.agents, *self.manifest.held_out)
        first = window_number(min(agent.first for agent in everyone), cadence, windows.horizon_slots)
        stop = window_number(max(agent.last for agent in everyone), cadence, windows.horizon_slots) + 1

        def are_sums(_group: object, sums: dict[Period, Sums]) -> bool:
            return all(part.is_of(first, stop, windows.horizon_slots, len(windows.quantiles)) for part in sums.values())

        files = [tuple(self.files[name] for name in group.household_ids) for group in items]
        kind: TypeAdapter[dict[Period, Sums]] = TypeAdapter(dict[Period, Sums])
        added = self.jobs("sums", partial(_sums, own=self.own), files, kind, are_sums)
        by_group: dict[Group, dict[Period, Sums]] = dict(zip(items, added, strict=True))
        figures = {
            name: sum_figures(
                [by_group[group] for group in groups],
                sum(len(group.household_ids) for group in groups),
                windows.quantiles,
                7 * 1440 // cadence,
                seed=self.own.seed,
                name=name,
            )
            for name, groups in found.items()
        }
        return {name: found for name, found in figures.items() if found is not None}


def _quantiles(file: HouseholdFile, read: Reader, *, own: OwnModel) -> QuantileScore:
    household = read(file)
    return score_quantiles(household, own.windows, own.of(household))


def _sums(files: Sequence[HouseholdFile], read: Reader, *, own: OwnModel) -> dict[Period, Sums]:
    return add_up(map(read, files), own.windows, own.of)
