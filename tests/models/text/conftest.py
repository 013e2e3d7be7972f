"""Puts the helper module beside the tests of text models within their reach."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
