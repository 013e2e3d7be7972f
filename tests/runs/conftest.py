"""What tests of chained runs share."""

import pytest

from cxrvl.config.compose import hydra_session
from cxrvl.runs import identity


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A process of its own in a folder of its own: tables are read once per process."""
    identity._study_table.cache_clear()
    monkeypatch.chdir(tmp_path)
    with hydra_session():
        yield
