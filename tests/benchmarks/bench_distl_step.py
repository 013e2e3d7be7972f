"""What does a step of self-training cost beside its own forward, backward and optimiser, and how busy does it keep a GPU?"""

import time
from copy import deepcopy
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.random import Draw
from cxrvl.runs.trainer import build_data, build_task, build_trainer, quieten, set_up_process

LIMIT = 1.10
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bf16 operations per second, of the vendor's data sheets."""


def config_of(folder: Path, *words: str) -> dict:
    return resolved(compose_config([
        "data=phantom_self_training", "model=distl_vit_small", "model.backbone.drop_path=0.0", "task=self_training",
        "data.ratio=1.0", "data.generation=null", "evaluation=none", "logger=none", "trainer.max_epochs=1",
        "trainer.check_val_every_n_epoch=2", f"paths.stores={folder}/stores", *words,
    ]))  # fmt: skip


class Beside(pl.Callback):
    """After each step of the trainer, the same on the same views without task and trainer; both are timed."""

    def __init__(self, task: torch.nn.Module, device: torch.device) -> None:
        self.student, self.teacher, self.dino = (deepcopy(m).to(device) for m in (task.model, task.teacher, task.dino))
        self.optimizer = torch.optim.AdamW([p for p in self.student.parameters() if p.requires_grad], lr=3e-4)
        self.device, self.mixed = device, device.type == "cuda"
        self.step_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self.flops = 0
        self.mark: float | None = None

    def now(self) -> float:
        """CPU seconds of this process, which others do not lengthen; of a GPU, seconds until it is done."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        if self.mark is not None:
            self.step_seconds.append(self.now() - self.mark)
        drawn = {}
        for stream, part in batch.items():
            names = task.views.names if stream == "unlabelled" else [task.roles.classes]
            views = task.views.only(names)
            place = Draw(task.seed, trainer.global_step, part["index"])
            drawn[stream] = [v for n, v in zip(views.names, views(part["image"], place), strict=True) if n in names]
        start = self.now()
        if self.flops:
            self.bare(task, batch, drawn)
            self.bare_seconds.append(self.now() - start)
        else:
            with FlopCounterMode(display=False) as counted:
                self.bare(task, batch, drawn)
            self.flops = counted.get_total_flops()
        self.mark = self.now()

    def bare(self, task, batch, drawn):
        """Forward of student and teacher, the three losses, backward, optimiser."""
        every, labelled = drawn["unlabelled"], drawn["labelled"]
        names = task.views.names
        taught = [names.index(name) for name in task.roles.teacher]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            with torch.no_grad():
                teacher = self.teacher.views([every[i] for i in taught], [0])
            student = self.student.views(every, [names.index(task.roles.classes)])
            known = self.student.views(labelled, [0], False)
        loss = self.dino(student.features.float(), teacher.features.float(), taught)
        loss = loss + binary_cross_entropy_with_logits(student.logits.float(), teacher.logits.float().sigmoid())
        loss = loss + binary_cross_entropy_with_logits(known.logits.float(), batch["labelled"]["target"])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def measured(folder: Path, steps: int, *words: str, device: str = "cpu", compiled: bool = False) -> Beside:
    config = config_of(folder, f"trainer.accelerator={'gpu' if device == 'cuda' else 'cpu'}", *words)
    quieten()
    set_up_process(config)
    data, task = build_data(config), build_task(config)
    if compiled:
        for network in (task.model, task.teacher):
            network.encoder.compile()
    beside = Beside(task, torch.device(device))
    if compiled:
        for network in (beside.student, beside.teacher):
            network.encoder.compile()
    config["trainer"]["limit_train_batches"] = steps
    build_trainer(config, folder, [beside]).fit(task, datamodule=data)
    return beside


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def test_nothing_else_costs(tmp_path):
    """Drawing the views, the teacher's update, logs and the trainer together: at most a tenth of the rest."""
    torch.set_num_threads(1)
    words = ("data.source.images=240", "data.store.size=64", "data.batch_size=4", "data.labelled_batch_size=4")
    found = measured(tmp_path, 8, *words, "threads=1")
    ratio = middle(
        [a / b for a, b in zip(found.step_seconds, found.bare_seconds[: len(found.step_seconds)], strict=True)]
    )
    print(f"\nViT-S/8, 2 + 8 views of 4 images at 64/32 px, 4 labelled, one core: step {middle(found.step_seconds):.2f} s, "
          f"its own forward, backward and optimiser {middle(found.bare_seconds):.2f} s: {ratio:.3f} x")  # fmt: skip
    assert ratio <= LIMIT


@pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT MEASURED: no GPU")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_is_kept_busy(tmp_path, compiled):
    name, batch = torch.cuda.get_device_name(), 64
    words = (
        "data.source.images=3000",
        "data.store.size=256",
        f"data.batch_size={batch}",
        "data.labelled_batch_size=64",
    )
    found = measured(tmp_path, 20, *words, "trainer.precision=bf16-mixed", device="cuda", compiled=compiled)
    step, bare = middle(found.step_seconds[4:]), middle(found.bare_seconds[4:])
    peak = next((value for key, value in PEAK.items() if key in name), float("nan"))
    print(f"\nViT-S/8, 2 + 8 views at 256/128 px, bf16, batch {batch}, compile {'on' if compiled else 'off'}, {name}: "
          f"{batch / step:.0f} images/s, {found.flops / step / peak:.0%} of peak, step {step / bare:.3f} x its own forward, "
          f"backward and optimiser")  # fmt: skip
    assert step / bare <= LIMIT
