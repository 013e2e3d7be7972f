"""What a task returns on each device averages to what one device returns, also where targets are unknown."""

import forked
import pytest
import torch
import torch.distributed
import torch.multiprocessing

from cxrvl.losses.multilabel import MultilabelLoss
from cxrvl.models.acm import ACM
from cxrvl.models.orthogonality import OrthogonalityCollector
from cxrvl.tasks.base import Task, device_count

LOGITS = torch.linspace(-2, 2, 8 * 3).view(8, 3)
TARGETS = torch.tensor([1.0, 0.0, float("nan")] * 2 + [float("nan")] * 12 + [0.0, 1.0, 1.0] * 2).view(8, 3)
DOTS = torch.tensor([0.5, -0.1, 0.2, -0.9, 0.3, -0.4, 0.1, -0.2])


def losses(rows, weight, task, over_devices):
    loss = MultilabelLoss()
    value = loss(weight * LOGITS[rows], TARGETS[rows])
    if over_devices:
        value = task.over_devices(value, loss.terms(TARGETS[rows]))
    acm = ACM(8, groups=2)
    collector = OrthogonalityCollector(torch.nn.Sequential(acm))
    acm.dot = weight * DOTS[rows]
    return value, collector(over_devices=over_devices)


def gradients(rows, over_devices):
    results = []
    for number in range(2):
        weight = torch.tensor(1.5, requires_grad=True)
        value = losses(rows, weight, Task(torch.nn.Identity(), torch.optim.SGD), over_devices)[number]
        results.append(torch.stack([value.detach(), *torch.autograd.grad(value, weight)]))
    return torch.stack(results)


def compute_share(rank, port, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    assert device_count() == 2
    torch.save(gradients(slice(rank, None, 2), True), f"{folder}/{rank}.pt")
    forked.leave()


@pytest.mark.slow
def test_losses_and_gradients_average_to_those_of_one_device(tmp_path):
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = store.port
    del store
    forked.preload()
    arguments = {"args": (port, str(tmp_path)), "nprocs": 2, "start_method": "forkserver"}
    torch.multiprocessing.start_processes(compute_share, **arguments)
    mean = torch.stack([torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]).mean(0)
    torch.testing.assert_close(mean, gradients(slice(None), False))


def test_one_device_scales_nothing():
    value = torch.tensor(0.3)
    assert Task(torch.nn.Identity(), torch.optim.SGD).over_devices(value, torch.tensor(5)) is value
