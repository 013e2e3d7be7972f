"""How long do the commands take that a user waits for?"""

import os
import subprocess
import sys
import time

import pytest

HELP_SECONDS = 1.5
TABLE_MINUTES = 10
AGAIN_SECONDS = 15


def seconds(*arguments: str, folder=None) -> float:
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "cxrvl.cli", *arguments],
        check=True,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def test_help_is_quick():
    taken = min(seconds("--help") for _ in range(3))
    print(f"\ncxrvl --help: {taken:.2f} s (at most {HELP_SECONDS})")
    assert taken <= HELP_SECONDS


@pytest.mark.slow
def test_the_phantom_table_from_nothing_and_again(tmp_path):
    first = seconds("table", "phantom", folder=tmp_path)
    again = seconds("table", "phantom", folder=tmp_path)
    print(f"\ncxrvl table phantom: {first / 60:.1f} min (at most {TABLE_MINUTES}), again {again:.1f} s")
    assert first <= 60 * TABLE_MINUTES
    assert again <= AGAIN_SECONDS
