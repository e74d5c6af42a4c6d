"""The source of the dashboards is no part of the package: its tests find it here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "monitoring" / "source"))
