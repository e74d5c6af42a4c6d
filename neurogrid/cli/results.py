"""docs/results.md: what the product reaches on real readings, measured anew with seeds of one's choice.

Every run is an ordinary run of the warehouse, so it can be reported and audited; one that is there already is not made
again, so an interrupted measurement goes on where it was.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from pyspark.sql import SparkSession

from neurogrid.cli import show
from neurogrid.cli.results_figures import Measured, Scored
from neurogrid.cli.results_goals import goals
from neurogrid.cli.results_page import page
from neurogrid.config import Config, load, to_yaml
from neurogrid.data.manifest import Manifest
from neurogrid.errors import UsageError
from neurogrid.pipeline import runs, steps
from neurogrid.pipeline.etl import etl
from neurogrid.pipeline.etl_plan import plan_etl
from neurogrid.pipeline.events import Observer
from neurogrid.pipeline.plan import find_manifest, plan_evaluation, plan_sampling, plan_training
from neurogrid.pipeline.training import train
from neurogrid.storage import place

ATTACKS = ("scale", "sign_flip", "noise")
RIVALS = ("ridge", "alone", "pooled", "gbm_alone", "gbm_pooled")
QUICK = ("rounds.count=12", "sampling.agents=30")
"""What the quick page trains less: everything but the goals, which are those of the whole."""
_ONLY_FEDERATED = ("personal.steps=0", "evaluation.comparisons=[]")
ATTACKED = ("attack.fraction=0.2", "attack.placement=per_round", *_ONLY_FEDERATED)
QUANTILES = ("model.quantiles=[0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]", *_ONLY_FEDERATED)


def measure(config: Config, seeds: Sequence[int], spark: SparkSession, observer: Observer, note: str = "") -> str:
    """Runs everything and returns the page.

    Args:
        config: of the main run: source, warehouse, 2 h ahead.
        seeds: the main run is made with each; the others with the first.
        spark: an open session.
        observer: told what goes on.
        note: stands at the head of the page.
    """
    began = time.monotonic()
    etl(plan_etl(config), lambda: spark, observer)
    homes, first = _Homes(config, spark, observer), seeds[0]
    main = []
    for seed in seeds:
        # What households have that come later is said once.
        asked = [*RIVALS, "parity"] if seed == first else RIVALS
        main.append(_run(homes, f"main-seed{seed}", seed, (f"evaluation.comparisons=[{', '.join(asked)}]",)))
    found = Measured(
        seeds=seeds,
        main=main,
        day=_run(homes, "day-ahead", first, ("model.horizon_slots=48", "evaluation.comparisons=[]")),
        squared=_run(homes, "squared-loss", first, ("local.loss=mse", "personal.steps=0")),
        quantiles=_run(homes, "quantiles", first, QUANTILES),
        attacked={kind: _run(homes, f"attack-{kind}", first, (f"attack.kind={kind}", *ATTACKED)) for kind in ATTACKS},
        minutes=(time.monotonic() - began) / 60,
        made=homes.made,
        runs=homes.runs,
    )
    reached = goals(found)
    for goal in chain.from_iterable(reached.values()):
        show.say(f"  {'met   ' if goal.met else 'MISSED'}  {goal.what}: {goal.got} (goal: {goal.wanted})")
    return "\n".join(page(config, found, reached, note)) + "\n"


@dataclass
class _Homes:
    """Draws the homes of a seed once, whatever is trained on them; counts the runs on them, and those made now."""

    config: Config
    spark: SparkSession
    observer: Observer
    drawn: dict[int, Manifest] = field(default_factory=dict)
    runs: int = 0
    made: int = 0

    def __call__(self, seed: int) -> Manifest:
        if seed not in self.drawn:
            own = load(to_yaml(self.config), [f"seed={seed}"])
            self.drawn[seed] = steps.sample(plan_sampling(own), self.spark, self.observer)
        return self.drawn[seed]


def _run(homes: _Homes, run_id: str, seed: int, overrides: Sequence[str]) -> Scored:
    """The run of that name, gone on with if it was begun, made if it is not there."""
    own = load(to_yaml(homes.config), [*overrides, f"seed={seed}", f"run_id={run_id}"])
    root = place(own.warehouse) / "runs" / run_id
    manifest = find_manifest(own) if own.sampling.manifest else homes(seed)
    if (root / "run.json").exists():
        _refuse_old(own, run_id, manifest)
    homes.runs += 1
    homes.made += not (root / "evaluation.json").exists()
    if not (root / "end.json").exists():
        train(plan_training(own, manifest, run_id if (root / "run.json").exists() else ""), homes.spark, homes.observer)
    if not (root / "evaluation.json").exists():
        steps.evaluate(plan_evaluation(own, run_id), homes.spark, homes.observer)
    evaluation = json.loads((root / "evaluation.json").read_text())
    return Scored(json.loads((root / "run_summary.json").read_text()), evaluation)


def _refuse_old(own: Config, run_id: str, manifest: Manifest) -> None:
    """Raises UsageError where a run of that name is there and is another one: its figures would pass for new ones."""
    runs.refuse_another(own, runs.run_config(own.warehouse, run_id, []), run_id)
    begun_with = runs.run_manifest(own, run_id)
    if begun_with != manifest.sha256[:12]:
        raise UsageError(
            f"run {run_id} was made with other households",
            found=f"manifest {begun_with}, now {manifest.sha256[:12]}",
            fix=f"remove {own.warehouse}, or give another with --set warehouse=",
        )
