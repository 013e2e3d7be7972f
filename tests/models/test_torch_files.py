"""Does a damaged PyTorch file ever end in anything but one WeightsError? Hundreds of broken copies of both formats."""

import pickle
import random
import warnings

import pytest
import torch

from cxrvl.errors import WeightsError
from cxrvl.models.torch_files import read_torch_file
from cxrvl.runs.parts import read_weights

COPIES = 350


def content():
    return {
        "state_dict": {f"layer.{i}.weight": torch.full((4, 3), float(i)) for i in range(6)},
        "written_by": {"run_id": "abc", "science": {"seed": 1, "steps": [1, 2.5, None, "x"]}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}],
    }


@pytest.fixture(params=["archive", "legacy"])
def whole(request, tmp_path):
    path = tmp_path / "whole.ckpt"
    torch.save(content(), path, _use_new_zipfile_serialization=request.param == "archive")
    return path.read_bytes()


def spoilt(whole: bytes, chance: random.Random) -> bytes:
    """Cut, overwrite, blank out or insert; the pickled part at the beginning is hit more often than the tensors."""
    changed, place = bytearray(whole), chance.randrange(chance.choice([1500, len(whole)])) % len(whole)
    how = chance.choice(["cut", "one byte", "bytes", "blank", "insert"])
    if how == "cut":
        del changed[place:]
    elif how == "one byte":
        changed[place] = chance.randrange(256)
    elif how == "bytes":
        changed[place : place + 9] = chance.randbytes(len(changed[place : place + 9]))
    elif how == "blank":
        changed[place : place + 300] = bytes(len(changed[place : place + 300]))
    else:
        changed[place:place] = chance.randbytes(5)
    return bytes(changed)


def test_a_damaged_file_is_refused_by_name_or_read(whole, tmp_path):
    chance, path, refused = random.Random(3), tmp_path / "damaged.ckpt", 0
    for _ in range(COPIES):
        path.write_bytes(spoilt(whole, chance))
        for read in (read_torch_file, read_weights):
            said = refusal(read, path)
            refused += said is not None
            assert said is None or (str(path) in said and "\n" not in said), said
    assert refused > COPIES, "most damage was noticed"


def refusal(read, path) -> str | None:
    """The message of the only error there may be; None where the file was read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except WeightsError as error:
        return str(error)
    return None


def test_the_whole_file_is_read(whole, tmp_path):
    (tmp_path / "same.ckpt").write_bytes(whole)
    assert torch.equal(read_weights(tmp_path / "same.ckpt").state["layer.5.weight"], torch.full((4, 3), 5.0))


def test_a_file_the_system_withholds_is_no_damaged_file(tmp_path, monkeypatch):
    def withheld(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.ckpt"))

    (tmp_path / "a.ckpt").touch()
    monkeypatch.setattr(torch, "load", withheld)
    with pytest.raises(PermissionError, match=r"Permission denied.*a\.ckpt"):
        read_torch_file(tmp_path / "a.ckpt")


def test_faults_that_are_not_the_files_are_let_through(tmp_path, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    (tmp_path / "a.ckpt").touch()
    monkeypatch.setattr(torch, "load", exhausted)
    with pytest.raises(MemoryError):
        read_torch_file(tmp_path / "a.ckpt")


@pytest.mark.parametrize("state", [None, 5, {}, {"a": 1}, {3: torch.ones(1)}, [torch.ones(1)]])
def test_what_is_no_state_dict_is_refused(tmp_path, state):
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match=r"a\.ckpt"):
        read_weights(tmp_path / "a.ckpt")


def test_code_in_a_file_is_not_run(tmp_path):
    path, mark = tmp_path / "code.ckpt", tmp_path / "mark"

    class Attack:
        def __reduce__(self):
            return type(mark).touch, (mark,)

    torch.save({"state_dict": Attack()}, path)
    with pytest.raises(WeightsError, match="more than tensors and plain values"):
        read_torch_file(path)
    path.write_bytes(pickle.dumps(Attack()))
    with pytest.raises(WeightsError, match="cannot be read safely"):
        read_torch_file(path)
    assert not mark.exists()
