"""Makes the runs with and without a teacher that `neurogrid bench teacher --data-dir` compares.

Runs are ordinary runs of the warehouse; one that is there already is not made again.
"""

from pyspark.sql import SparkSession

from neurogrid.bench import teacher_gain
from neurogrid.bench.table import ResultTable
from neurogrid.cli import show
from neurogrid.config import Config, load, to_yaml
from neurogrid.data.tables import read_tables
from neurogrid.pipeline import settings, steps
from neurogrid.pipeline.etl import etl
from neurogrid.pipeline.etl_plan import plan_etl
from neurogrid.pipeline.events import Observer
from neurogrid.pipeline.plan import plan_sampling, plan_training
from neurogrid.pipeline.teach_plan import plan_teaching
from neurogrid.pipeline.teaching import teach
from neurogrid.pipeline.training import train
from neurogrid.storage import place

SMALL = "model.hidden=16"
GENTLE = "local.learning_rate=0.0005"


def measure(config: Config, spark: SparkSession, observer: Observer) -> ResultTable:
    """Makes what is not there yet, and scores each round of each run.

    Args:
        config: of the federations; its `teacher` section says whom the teacher learns from.
        spark: an open session.
        observer: told what goes on.
    """
    if read_tables(place(config.warehouse)) is None:
        etl(plan_etl(config), lambda: spark, observer)
    manifest = steps.sample(plan_sampling(config), spark, observer)
    seed = config.seed
    named = load(to_yaml(config), [f"teacher.id=teacher-seed{seed}", f"sampling.manifest={manifest.sha256[:12]}"])
    taught = teach(plan_teaching(named, go_on=True), spark, observer)
    with_teacher = f"rounds.teacher=teacher-seed{seed}"
    wanted = {
        "from the seed": (),
        "from the teacher": (with_teacher,),
        "from the teacher, gently": (with_teacher, GENTLE),
        "small, from the seed": (SMALL,),
        "small, guided by the teacher": (SMALL, with_teacher, "local.distill_weight=1.0"),
    }
    warehouse, tests = place(config.warehouse), {}
    for group, agents in (("agents", manifest.agents), ("held_out", manifest.held_out)):
        with show.console.status(f"  test windows of {len(agents)} households"):
            tests[group] = teacher_gain.draw_windows(warehouse, manifest, agents, settings.training(config))
    curves = []
    for number, (name, overrides) in enumerate(wanted.items()):
        own = load(to_yaml(config), [*overrides, f"run_id=teacher-seed{seed}-{number}"])
        run = warehouse / "runs" / own.run_id
        if not (run / "end.json").exists():
            resume = own.run_id if (run / "run.json").exists() else ""
            train(plan_training(own, manifest, resume), spark, observer)
        with show.console.status(f"  scoring {name}"):
            curves.append(teacher_gain.score(name, run, settings.training(own), tests))
    medians = {group: teacher_gain.mean_error(None, test) for group, test in tests.items()}
    rounds = settings.rounds(config)
    return teacher_gain.tabulate(curves, medians, len(taught["households"]), manifest, rounds)
