"""The tests here, and the processes that they start, import small_run by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
