"""Does the DINO loss cost less memory and no more time than writing its pairs out, and the teacher's update next to nothing?"""

import resource
import subprocess
import sys
import time
from functools import partial

import pytest
import torch
from torch import Tensor

from cxrvl.losses.dino import DinoLoss
from cxrvl.models.build import self_training
from cxrvl.models.distl_heads import ClassHead, FeatureHead
from cxrvl.models.teacher import make_teacher, update_teacher
from cxrvl.models.vit import Vit

PROTOTYPES, BATCH, VIEWS = 65_536, 16, 10


def written_out(loss: DinoLoss, student: Tensor, teacher: Tensor) -> Tensor:
    """The loss as a loop over pairs under plain autograd."""
    views = (student / loss.student_temperature).chunk(VIEWS)
    targets = loss.probabilities(teacher).chunk(2)
    terms = [
        -(target * view.log_softmax(-1)).sum(-1).mean()
        for i, target in enumerate(targets)
        for v, view in enumerate(views)
        if v != i
    ]
    return torch.stack(terms).mean()


def once(name: str, prototypes: int = PROTOTYPES) -> float:
    """Compute loss and gradient; return seconds."""
    torch.manual_seed(0)
    student = torch.randn(VIEWS * BATCH, prototypes, requires_grad=True)
    teacher = torch.randn(2 * BATCH, prototypes)
    loss = DinoLoss(prototypes)
    start = time.perf_counter()
    value = loss(student, teacher) if name == "own" else written_out(loss, student, teacher)
    value.backward()
    return time.perf_counter() - start


def peak(name: str) -> tuple[float, float]:
    """Seconds, and MiB above what the inputs take, of one loss in a process of its own."""
    found = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True).stdout.split()
    return float(found[0]), float(found[1])


def test_the_loss_is_lean():
    seconds, memory = zip(*(peak(name) for name in ("own", "written_out")), strict=True)
    print(f"\nDINO loss, K = {PROTOTYPES}, {VIEWS} views of {BATCH}: {seconds[0]:.2f} s, {memory[0]:.0f} MiB; "
          f"pairs written out {seconds[1]:.2f} s, {memory[1]:.0f} MiB; one array of scores is "
          f"{VIEWS * BATCH * PROTOTYPES * 4 / 2**20:.0f} MiB")  # fmt: skip
    assert memory[0] < 0.6 * memory[1]
    assert seconds[0] < seconds[1]


@pytest.mark.parametrize("size", ["vit_small_patch16_224"])
def test_the_teacher_s_update_is_a_small_part_of_a_step(size):
    model = self_training(partial(Vit, size), ClassHead, 1, partial(FeatureHead, prototypes=8192))
    teacher, images = make_teacher(model), torch.rand(4, 1, 224, 224)
    start = time.perf_counter()
    model(images).logits.sum().backward()
    step = time.perf_counter() - start
    times = []
    for _ in range(5):
        start = time.perf_counter()
        update_teacher(teacher, model, 0.999)
        times.append(time.perf_counter() - start)
    print(f"\nteacher update {min(times) * 1e3:.1f} ms, forward and backward of 4 images {step * 1e3:.0f} ms")
    assert min(times) < 0.05 * step


if __name__ == "__main__":
    torch.set_num_threads(1)
    once(sys.argv[1], 8)  # what is loaded on first use is not the loss's
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took = once(sys.argv[1])
    inputs = (VIEWS + 2) * BATCH * PROTOTYPES * 4 / 2**20
    print(took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 - inputs)
