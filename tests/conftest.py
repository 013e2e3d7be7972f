"""Fixtures for all tests: the folder with the real samples, which are never part of the repository."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository: real data, papers and parity files; the test is skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder `shared` with the real samples is not beside this repository")
    return folder
