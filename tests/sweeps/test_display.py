"""One line per job on a terminal, with what the run says of itself; one plain line per change elsewhere."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from cxrvl.runs.progress import write_progress
from cxrvl.sweeps.display import Board, duration

PROGRESS = {
    "epoch": 1, "max_epochs": 10, "step": 30, "total_steps": 200, "monitor": "val/auroc", "value": 0.81234,
    "best": 0.83, "seconds_left": 200.0, "time": 1.0,
}  # fmt: skip


def drawn(board: Board) -> list[str]:
    console = Console(file=io.StringIO(), width=120, height=board.console.height)
    console.print(board.table())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def terminal(height: int = 30) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120, height=height)


def test_a_line_says_state_epoch_metric_and_time_left(script):
    jobs = [script(name) for name in ("seed=0", "seed=1", "seed=2", "seed=3")]
    board = Board(jobs, terminal())
    with board:
        board.change(jobs[0], "running")
        board.change(jobs[1], "running", "GPU-1")
        board.change(jobs[2], "failed", "exit code 2")
        jobs[0].run_folder.mkdir(parents=True)
        write_progress(jobs[0].run_folder, PROGRESS)
        lines = drawn(board)
    expected = ["running", "seed=0", "epoch 2/10", "val/auroc 0.8123 (best 0.83)", "3 min left"]
    assert re.split(r"\s{2,}", lines[0]) == expected
    assert lines[1].split() == ["running", "seed=1", "starting", "GPU-1"]
    assert lines[2].split() == ["failed", "seed=2", "exit", "code", "2"]
    assert lines[3].split() == ["waiting", "seed=3"]
    assert lines[4] == "2 running, 1 failed, 1 waiting"
    assert "epoch 2/10" in board.console.file.getvalue(), "the last state stays on the screen"


def test_a_half_written_progress_file_is_no_error(script):
    job = script("a")
    board = Board([job], terminal())
    board.change(job, "running")
    job.run_folder.mkdir(parents=True)
    (job.run_folder / "progress.json").write_text('{"epoch": 1')
    assert drawn(board)[0].split() == ["running", "a", "starting"]


def test_more_jobs_than_lines(script):
    """Whoever runs or failed is shown; the rest is counted."""
    jobs = [script(f"job{i}") for i in range(40)]
    board = Board(jobs, terminal(height=10))
    for job in jobs[:20]:
        board.states[job] = "done"
    board.states[jobs[3]] = "failed"
    board.states[jobs[20]] = board.states[jobs[21]] = "running"
    lines = drawn(board)
    assert len(lines) == 8
    assert [line.split()[:2] for line in lines[:3]] == [["failed", "job3"], ["running", "job20"], ["running", "job21"]]
    assert lines[-1] == "2 running, 1 failed, 18 waiting, 19 done"


def test_without_a_terminal_each_change_is_one_line(script, capsys, monkeypatch):
    times = iter([0.0, 125.0])
    monkeypatch.setattr("cxrvl.sweeps.display.time", SimpleNamespace(monotonic=lambda: next(times)))
    jobs = [script("a"), script("b")]
    with Board(jobs, Console(file=io.StringIO())) as board:
        board.change(jobs[0], "running", "0, 1")
        board.refresh()
        board.change(jobs[1], "elsewhere")
        board.change(jobs[0], "done")
    assert capsys.readouterr().out.splitlines() == [
        "[0/2] running: a (0, 1)",
        "[0/2] running elsewhere: b",
        "[1/2] done: a after 2 min",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(3.2, "3 s"), (89, "89 s"), (200, "3 min"), (7500, "2 h 05 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text
