"""Lets the tests of this folder share helper modules, also in worker processes (which get this process's path)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
