"""The short steps of a federation: sampling, evaluation, report. Each takes a plan; none reads the config."""

from typing import Any

from pyspark.sql import SparkSession

from neurogrid.data.manifest import Manifest
from neurogrid.data.sampling import sample as draw
from neurogrid.fl.record import weights_sha256
from neurogrid.ledger.chain import Record, seal, sha256, to_text
from neurogrid.ledger.table import to_parquet
from neurogrid.pipeline.etl import write_quality_page
from neurogrid.pipeline.events import SILENT, Evaluated, Observer, Reported, Sampled, Scoring
from neurogrid.pipeline.plan import EvaluatePlan, SamplePlan
from neurogrid.storage import Place
from neurogrid.workloads.meters.evaluation import evaluate as score


def sample(plan: SamplePlan, spark: SparkSession, observer: Observer = SILENT) -> Manifest:
    """Clean tables to a manifest, which is written; raises as `neurogrid.data.sampling.sample`."""
    with observer.during("sampling") as progress:
        manifest = draw(spark, plan.warehouse, plan.settings, progress)
    write_quality_page(plan.warehouse, manifest, show_households=plan.show_households)
    observer.tell(Sampled(manifest))
    return manifest


def sampled(warehouse: Place, manifest: Manifest) -> dict[str, Any]:
    """What a sampling has made, as JSON."""
    manifest_id = manifest.sha256[:12]
    path = f"{warehouse}/manifests/{manifest_id}/manifest.json"
    return {"manifest_id": manifest_id, "path": path, "agents": len(manifest.agents)}


def evaluate(plan: EvaluatePlan, spark: SparkSession | None, observer: Observer = SILENT) -> Record:
    """Scores a finished run's weights on held-out time and households; without a session, in this process."""
    run = plan.run
    models = {"federated": plan.weights}
    with observer.during(Scoring(run.name)) as progress:
        found = score(spark, plan.warehouse, plan.manifest, models, plan.settings, progress.step, progress)
    households = to_parquet(found.households.to_pylist(), found.households.schema)
    files = {"evaluation.parquet": sha256(households)}
    own = {"w_final_sha256": weights_sha256(plan.weights), "files": files, **found.to_dict()}
    record = seal(own, plan.head_sha256)
    (run / "evaluation.md").write(found.to_markdown())
    (run / "evaluation.parquet").write(households)
    # Last, and a record of the run's chain: what is there is whole, and `audit` tells whether it was changed.
    (run / "evaluation.json").write(to_text(record))
    observer.tell(Evaluated(run, record))
    return record


def report(warehouse: Place, run_id: str, observer: Observer = SILENT) -> Place:
    """The run's HTML report; returns its file."""
    from neurogrid.report.page import render_report  # noqa: PLC0415 - matplotlib takes half a second that other steps do not need

    run = warehouse / "runs" / run_id
    with observer.during("report"):
        content = render_report(run, warehouse)
    file = run / "report.html"
    file.write(content)
    observer.tell(Reported(file))
    return file
