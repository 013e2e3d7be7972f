"""Each job gets the GPUs it asks for, or a CPU slot; what can never be placed is refused before anything starts."""

import pytest

from cxrvl.errors import ConfigError
from cxrvl.sweeps import slots as slots_module
from cxrvl.sweeps.slots import Place, Slots, listed_gpus, visible_gpus

LISTED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
"""


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("2,0", ["2", "0"]),
        ("GPU-aaaa, MIG-1111", ["GPU-aaaa", "MIG-1111"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("NoDevFiles", []),
        ("1,1", ["1"]),
    ],
)
def test_the_environment_names_the_gpus(value, names):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == names


def test_nvidia_smi_names_the_rest(monkeypatch, tmp_path):
    assert listed_gpus(LISTED) == ["MIG-1111", "MIG-2222", "GPU-bbbb"]
    monkeypatch.setattr(slots_module, "NVIDIA_CONTROL", tmp_path / "nvidiactl")
    assert visible_gpus({}) == []
    (tmp_path / "nvidiactl").touch()
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="not on the PATH"):
        visible_gpus({})
    program.write_text("#!/bin/sh\necho 'GPU 0: H100 (UUID: GPU-cccc)'\n")
    program.chmod(0o755)
    assert visible_gpus({}) == ["GPU-cccc"]
    program.write_text("#!/bin/sh\necho 'Driver/library version mismatch'; exit 18\n")
    with pytest.raises(ConfigError, match=r"Driver/library version mismatch.*CUDA_VISIBLE_DEVICES"):
        visible_gpus({})


def test_one_gpu_per_job_and_back(script):
    jobs = [script(name) for name in "abc"]
    slots = Slots(jobs, ["0", "1"])
    assert [slots.take(job) for job in jobs] == [Place(("0",)), Place(("1",)), None]
    slots.give(Place(("1",)))
    assert slots.take(jobs[2]) == Place(("1",))


def test_small_jobs_share_gpus_evenly(script):
    jobs = [script(name) for name in "abcde"]
    slots = Slots(jobs, ["0", "1"], jobs_per_gpu=2)
    places = [slots.take(job) for job in jobs]
    assert [place.gpus for place in places[:4]] == [("0",), ("1",), ("0",), ("1",)]
    assert places[4] is None


def test_a_job_gets_as_many_gpus_as_its_devices(script):
    two = script("two", devices=2, trainer={"devices": 2})
    every = script("all", devices=0, trainer={"devices": -1})
    gpus = ["0", "1", "2"]
    assert Slots([two], gpus).take(two) == Place(("0", "1"))
    assert Slots([every], gpus).take(every) == Place(tuple(gpus))
    assert Slots([every], gpus, per_job=2).take(every) == Place(("0", "1"))


def test_cpu_slots(script, monkeypatch):
    monkeypatch.setattr(slots_module, "default_workers", lambda: 8)
    cpu = script("cpu", threads=2, trainer={"accelerator": "cpu"})
    assert Slots([cpu], ["0"]).free_slots == 4, "a job on the CPU takes no GPU"
    assert Slots([script("auto", threads=3)], []).free_slots == 2
    assert Slots([script("ranks", threads=2, devices=2, trainer={"accelerator": "cpu"})], []).free_slots == 2
    assert Slots([script("large", threads=64)], []).free_slots == 1
    slots = Slots([cpu], ["0"], slots=1)
    assert slots.take(cpu) == Place()
    assert slots.take(cpu) is None
    slots.give(Place())
    assert slots.take(cpu) == Place()


@pytest.mark.parametrize(
    ("fields", "options", "words"),
    [
        ({"devices": 4, "trainer": {"devices": 4}}, {}, "wants 4 GPUs, but 2 are visible"),
        ({}, {"per_job": 2}, "set trainer.devices=2"),
        ({"trainer": {"num_nodes": 2}}, {}, "submitit_slurm"),
        ({}, {"per_job": 0}, "per_job is 0"),
        ({}, {"jobs_per_gpu": 0}, "jobs_per_gpu is 0"),
        ({}, {"slots": -1}, "slots is -1"),
    ],
)
def test_what_cannot_be_placed_is_refused(script, fields, options, words):
    with pytest.raises(ConfigError, match=words):
        Slots([script("a", **fields)], ["0", "1"], **options)


def test_a_wanted_gpu_that_is_not_there(script):
    with pytest.raises(ConfigError, match=r"no GPU is visible.*trainer.accelerator=cpu"):
        Slots([script("a", trainer={"accelerator": "gpu"})], [])
