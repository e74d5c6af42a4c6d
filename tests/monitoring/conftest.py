"""The source of the dashboards is no part of the package, and the OTLP server another folder's: both are found here."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "monitoring" / "source"), str(ROOT / "tests" / "telemetry")]
