"""One household under every method: what a task of the scoring job does, and how the driver tells its answer."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from neurogrid.data.household import Household
from neurogrid.errors import RunError
from neurogrid.fl.record import weights_sha256
from neurogrid.fl.update import Vector
from neurogrid.workloads.meters.agent import completed
from neurogrid.workloads.meters.evaluation import boosting
from neurogrid.workloads.meters.evaluation.examples import Stretch, stretch
from neurogrid.workloads.meters.evaluation.jobs import HouseholdFile, Reader
from neurogrid.workloads.meters.evaluation.rivals import Own, Rivals
from neurogrid.workloads.meters.evaluation.score import HouseholdScore, score_household
from neurogrid.workloads.meters.evaluation.settings import EvaluationSettings
from neurogrid.workloads.meters.forecast import Candidates, outputs
from neurogrid.workloads.meters.models import build
from neurogrid.workloads.meters.personal import Personal, personalise
from neurogrid.workloads.meters.personal_files import PersonalFiles, newcomer
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import Array, Batch, Indices, WindowSettings, build_shard

OWN_MODEL = "federated"
_TITLES = {"alone": "own_alone"}
"""In scores an agent's candidate `alone` has another name than the rival that is trained alone."""
"""The method that is the run's own."""


def score_one(
    item: tuple[HouseholdFile, Own],
    read: Reader,
    *,
    settings: EvaluationSettings,
    weights: Mapping[str, Vector],
    rivals: Rivals,
) -> HouseholdScore:
    """The household's sums.

    Args:
        item: its table, and what rivals made for it alone.
        read: reads the table.
        settings: see there.
        weights: models to evaluate, by name.
        rivals: what is all households'.
    """
    file, own = item
    household = read(file)
    trees = dict(rivals.trees)
    grown = boosting.boost_alone(household, settings.boosting) if own.boosts else None
    if grown is not None:
        trees["gbm_alone"] = grown
    weights, blends = _own_models(file, household, settings, weights)
    return score_household(
        household,
        settings.windows,
        build(settings.model, model_shape(settings.windows), seed=settings.seed),
        {**weights, **rivals.weights, **own.weights},
        {**rivals.coefficients, **own.coefficients},
        {name: boosting.forecaster(text) for name, text in trees.items()},
        blends,
    )


def shown_method(settings: EvaluationSettings) -> str:
    """Whose forecasts are shown as examples: what a household uses."""
    return "served" if settings.personal else OWN_MODEL


def show_one(
    file: HouseholdFile, read: Reader, *, settings: EvaluationSettings, weights: Mapping[str, Vector]
) -> Stretch:
    """Some days of forecasts by what a household with test windows uses; for the arguments see `score_one`."""
    household = read(file)
    own, blends = _own_models(file, household, settings, weights)
    shares = blends.get("served", {OWN_MODEL: 1.0})
    candidates = Candidates(own, {name: share for name, share in shares.items() if share})
    model = build(settings.model, model_shape(settings.windows), seed=settings.seed)
    shard = build_shard([(household, None)], settings.windows, ("test",))

    def forecast(rows: Indices, batch: Batch) -> tuple[Array, Array]:
        scaled, _, quantiles_kwh = outputs(model, candidates, shard, rows, batch)
        return batch.base_kwh + batch.scale * scaled, quantiles_kwh

    found = stretch(household, shard, forecast)
    assert found is not None
    return found


def is_shown(windows: WindowSettings, _: HouseholdFile, found: Stretch) -> bool:
    """Whether it can be a stretch of forecasts by the run's model."""
    return found.is_of(windows.horizon_slots, windows.quantiles)


def _own_models(
    file: HouseholdFile, household: Household, settings: EvaluationSettings, weights: Mapping[str, Vector]
) -> tuple[Mapping[str, Vector], dict[str, Mapping[str, float]]]:
    """The models as they are for this household, and blends of them."""
    if settings.private is None and settings.personal is None:
        return weights, {}
    as_sent = federated = weights[OWN_MODEL]
    if settings.private is not None:
        federated = completed(as_sent, household, settings.private, file.agent or file.household_id)
    if settings.personal is None:
        return {**weights, OWN_MODEL: federated}, {}
    personal = _personal(file, household, settings.personal, as_sent, federated)
    own = {_TITLES.get(name, name): vector for name, vector in personal.weights.items()}
    shares = {_TITLES.get(name, name): share for name, share in personal.shares.items()}
    return {**weights, OWN_MODEL: federated, **own}, {"served": shares}


def _personal(
    file: HouseholdFile, household: Household, kept: PersonalFiles, as_sent: Vector, federated: Vector
) -> Personal:
    """The household's own model: its agent's, or one that is made here and not kept."""
    name = file.agent or newcomer(file.household_id)
    try:
        found = kept.find(name, weights_sha256(as_sent), federated.size, file.sha256)
    except RunError:  # damaged: one file is not to cost the others their scores, and what was in it can be made
        found = None
    if found is not None:
        return found
    shard = build_shard([(household, None)], kept.settings.tuning.windows, ("train", "validation"))
    return personalise(shard, federated, kept.settings, name)


def own_methods(personal: PersonalFiles | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a run gives each household by its choice; and what it trains for itself, which some may lack."""
    if personal is None:
        return (), ()
    return ("served",), tuple(_TITLES.get(name, name) for name in personal.settings.trained)


def is_score(
    horizon: int,
    models: AbstractSet[str],
    others: AbstractSet[str],
    possible: AbstractSet[str],
    item: tuple[HouseholdFile, Own],
    score: HouseholdScore,
) -> bool:
    """Whether a score can be of that household, with these methods: models, and others that tell no surges.

    Whether a household has what is `possible`, its own models and trees, is known in its task alone.
    """
    file, own = item
    found = {name for part in score.parts.values() for name in part.absolute}
    grown = found & ({"gbm_alone"} if own.boosts else set())
    models = {*models, *own.weights, *(found & possible)}
    forecasting, telling = {*others, *models, *own.coefficients, *grown}, {"usual_share", *models}
    return score.is_of(file.household_id, horizon, forecasting, telling)
