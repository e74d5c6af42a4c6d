"""A small warehouse with a run that has ended, for tests of what is made of its model."""

import shutil
from pathlib import Path

from neurogrid.config import Config, load
from neurogrid.data.manifest import read_manifest
from neurogrid.pipeline import training
from neurogrid.pipeline.plan import plan_training
from neurogrid.storage import place

RUN = "mine"


def train_run(sampled: Path, root: Path, *sets: str, run_id: str = RUN) -> Config:
    """Trains the manifest's agents in a copy of the warehouse; the run's config."""
    if not (root / "w").exists():
        shutil.copytree(sampled, root, dirs_exist_ok=True)
    (folder,) = (root / "w" / "manifests").iterdir()
    steps = ("local.steps=30", "local.learning_rate=0.02", "personal.steps=20", f"run_id={run_id}")
    config = load((root / "small.yaml").read_text(), [f"warehouse={root}/w", *steps, *sets])
    training.train(plan_training(config, read_manifest(place(str(folder / "manifest.json")))), None)
    return config
