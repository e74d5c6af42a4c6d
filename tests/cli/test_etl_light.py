"""An ETL that finds nothing to do is run again and again: it loads nothing that it does not need."""

import subprocess
import sys


def test_neither_spark_nor_torch_nor_the_page_is_loaded_before_it_is_needed() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, neurogrid.cli.app, neurogrid.pipeline.etl, neurogrid.cli.dry_run\n"
            "print([m for m in ('torch', 'pyspark', 'pandas', 'jinja2', 'matplotlib') if m in sys.modules])",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == "[]"
