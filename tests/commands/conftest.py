"""`cxrvl` inside the test's own process: a process of its own would cost seconds of imports for each call."""

from typing import NamedTuple

import pytest

from cxrvl.cli import main
from cxrvl.runs import identity


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Call `cxrvl <arguments>` in the test's folder and return its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        identity._study_table.cache_clear()  # as a process of its own would begin
        identity._report_table.cache_clear()
        capfd.readouterr()
        code = 0
        try:
            main([str(a) for a in arguments])
        except SystemExit as leave:
            code = leave.code or 0
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture
def refused(call):
    """Call a command that must fail by exactly one message of one line, without a traceback."""

    def refused(*arguments: str) -> str:
        result = call(*arguments)
        assert result.code == 2, result
        assert result.err.startswith("error: "), result.err
        assert result.err.count("\n") == 1, result.err
        assert "Traceback" not in result.out + result.err
        return result.err

    return refused
