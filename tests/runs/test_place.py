"""Which process of which job is this one, as the environment says it?"""

import pytest

from cxrvl.runs.place import Place, place


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Place()),
        ({"LOCAL_RANK": "1", "NODE_RANK": "1"}, Place()),
        (
            {"CXRVL_RANK_OF": "a" * 16, "RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"},
            Place(1, 2, "parent"),
        ),
        ({"RANK": "3", "WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "x"}, Place(3, 4, "torchrun")),
        ({"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "x"}, Place()),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Place()),
        ({"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, Place()),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"}, Place(5, 8, "slurm")),
    ],
)
def test_place(environment, expected):
    assert place(environment) == expected


def test_outside():
    assert Place(1, 2, "slurm").outside
    assert Place(1, 2, "torchrun").outside
    assert not Place(1, 2, "parent").outside
    assert not Place().outside
