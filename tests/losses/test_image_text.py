"""Do the losses of a dual tower equal their plain versions, on one device, on two, whole and in chunks?"""

import forked
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from open_clip.loss import SigLipLoss
from torch.nn.functional import cross_entropy, logsigmoid, normalize
from torch.utils._python_dispatch import TorchDispatchMode

from cxrvl.errors import ConfigError
from cxrvl.losses.companions import Companions, Softening, likeness, word_table
from cxrvl.losses.contrastive import NO_KEY
from cxrvl.losses.image_text import InfoNCE, SigLIP

REPORTS = (
    "The heart is enlarged.", "the heart is enlarged", "No pneumothorax. The lungs are clear today.",
    "Small left effusion.", "Small right effusion.", "No pneumothorax. The lungs are clear.",
)  # fmt: skip
KEYS = torch.tensor([[0, NO_KEY], [1, NO_KEY], [2, 7], [3, NO_KEY], [3, NO_KEY], [5, 7]])
KINDS = {
    "clip": lambda: InfoNCE(),
    "clip_gathered": lambda: InfoNCE(local=False),
    "clip_soft": lambda: InfoNCE(soften=Softening(0.4, 0.7)),
    "siglip": lambda: SigLIP(chunk=2),
    "siglip_soft": lambda: SigLIP(chunk=2, soften=Softening(0.4, 0.7)),
}
KNOWN = Companions(KEYS, word_table(REPORTS))


def batch(rows=6, dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image, text = (
        normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=-1) for _ in range(2)
    )
    scale, bias = torch.tensor(7.0, dtype=torch.float64), torch.tensor(-3.0, dtype=torch.float64)
    return [value.detach().requires_grad_() for value in (image, text, scale, bias)]


def gradients(loss, values):
    return torch.autograd.grad(loss, values)


def test_identical_reports_are_alike_and_others_are_not():
    like = likeness(*[word_table(REPORTS)] * 2)
    torch.testing.assert_close(like, like.T)
    torch.testing.assert_close(like.diagonal(), torch.ones(6))
    torch.testing.assert_close(like[0, 1], torch.tensor(1.0))
    torch.testing.assert_close(like[2, 5], torch.tensor(6 / 7))
    torch.testing.assert_close(like[3, 4], torch.tensor(0.5))
    assert like[0, 3] == 0


def plain_targets(like, share, near):
    own = torch.eye(len(like), dtype=like.dtype)
    kept = torch.where(like >= near, like, 0.0)
    return (1 - share) * own + share * kept / kept.sum(1, keepdim=True)


def test_keys_leave_out_what_is_no_negative_in_both_directions():
    image, text, scale, _ = batch()
    found = InfoNCE()(image, text, scale, companions=Companions(KEYS))
    logits = scale * image @ text.T
    for one, other in ((3, 4), (2, 5)):
        logits = logits.masked_fill(torch.zeros(6, 6, dtype=bool).index_put(
            (torch.tensor([one, other]), torch.tensor([other, one])), torch.tensor(True)), float("-inf"))  # fmt: skip
    right = torch.arange(6)
    torch.testing.assert_close(found, (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2)
    assert not torch.isclose(found, InfoNCE()(image, text, scale))


def test_soft_targets_are_shared_among_near_duplicates():
    image, text, scale, bias = batch()
    found = InfoNCE(soften=Softening(0.4, 0.7))(image, text, scale, bias, Companions(words=word_table(REPORTS)))
    aim = plain_targets(likeness(*[word_table(REPORTS)] * 2).double(), 0.4, 0.7)
    logits = scale * image @ text.T + bias
    plain = (cross_entropy(logits, aim) + cross_entropy(logits.T, aim)) / 2
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=1e-7)
    assert aim[0, 1] > 0
    assert aim[2, 5] > 0
    assert aim[3, 4] == 0


def test_a_near_duplicate_is_right_in_part_even_where_a_key_would_leave_it_out():
    image, text, scale, _ = batch()
    soft = InfoNCE(soften=Softening(0.4, 0.7))
    same = torch.tensor([[1], [1], [2], [3], [4], [5]])
    both = soft(image, text, scale, companions=Companions(same, word_table(REPORTS)))
    torch.testing.assert_close(both, soft(image, text, scale, companions=Companions(words=word_table(REPORTS))))


def test_soft_targets_without_a_share_are_the_plain_loss():
    image, text, scale, bias = batch()
    given = (image, text, scale, bias)
    torch.testing.assert_close(InfoNCE(soften=Softening(0.0))(*given), InfoNCE()(*given))


@pytest.mark.parametrize("chunk", [0, 1, 4, 6, 50])
def test_siglip_equals_open_clip_whatever_the_chunk(chunk):
    values = batch()
    found, expected = SigLIP(chunk)(*values), SigLipLoss()(*values)
    torch.testing.assert_close(found, expected)
    for one, other in zip(gradients(found, values), gradients(expected, values), strict=True):
        torch.testing.assert_close(one, other)


def test_siglip_with_keys_and_soft_answers():
    image, text, scale, bias = values = batch()
    found = SigLIP(2, Softening(0.4, 0.7))(*values, companions=KNOWN)
    like = likeness(*[word_table(REPORTS)] * 2).double()
    yes = torch.where(like >= 0.7, 0.4 * like, 0.0).fill_diagonal_(1.0)
    logits = scale * image @ text.T + bias
    each = -(yes * logsigmoid(logits) + (1 - yes) * logsigmoid(-logits))
    each[3, 4] = each[4, 3] = 0  # the same study, other words
    torch.testing.assert_close(found, each.sum() / 6, rtol=1e-6, atol=1e-7)


def test_half_precision_is_compared_in_full():
    image, text, scale, bias = (value.detach().bfloat16() for value in batch())
    for kind in KINDS.values():
        assert kind()(image, text, scale.float(), bias.float(), KNOWN).dtype == torch.float32


def test_numbers_that_cannot_be_right():
    for options in ({"share": 1.0}, {"share": -0.1}, {"near": 0.0}, {"near": 1.1}):
        with pytest.raises(ConfigError, match="expected 0 <= share < 1"):
            Softening(**options)
    with pytest.raises(ConfigError, match=r"task\.loss\.chunk is -1"):
        SigLIP(-1)
    with pytest.raises(ConfigError, match="need the words"):
        InfoNCE(soften=Softening())(*batch())


def compute_share(rank, port, folder, world=2):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    results = {}
    for name, kind in KINDS.items():
        values = batch()
        rows = slice(3 * rank, 3 * rank + 3)
        known = Companions() if name == "clip_gathered" else Companions(KEYS[rows], word_table(REPORTS)[rows])
        loss = kind()(values[0][rows], values[1][rows], *values[2:], known)
        # What averaging over devices makes of it, as DistributedDataParallel does.
        parts = torch.autograd.grad(loss, values, allow_unused=True)
        whole = [torch.zeros_like(v) if part is None else part for part, v in zip(parts, values, strict=True)]
        for value in (loss := loss.detach(), *whole):
            torch.distributed.all_reduce(value)
            value /= world
        results[name] = [loss, *whole]
    if rank == 0:
        torch.save(results, f"{folder}/found.pt")
    forked.leave()


@pytest.mark.slow
def test_two_devices_together_have_the_loss_and_gradient_of_one(tmp_path):
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = store.port
    del store
    forked.preload()
    arguments = {"args": (port, str(tmp_path)), "nprocs": 2, "start_method": "forkserver"}
    torch.multiprocessing.start_processes(compute_share, **arguments)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name, kind in KINDS.items():
        values = batch()
        loss = kind()(*values, Companions() if name == "clip_gathered" else KNOWN)
        parts = torch.autograd.grad(loss, values, allow_unused=True)
        whole = [torch.zeros_like(v) if part is None else part for part, v in zip(parts, values, strict=True)]
        for one, other in zip(found[name], [loss.detach(), *whole], strict=True):
            torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def kept_for_backward(loss, values):
    """Bytes of all tensors, each counted once, that a loss keeps for its gradient, and the largest of them."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(*values)
    return sum(kept.values())


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that anything computes."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                self.bytes = max(self.bytes, value.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("soften", [None, Softening(0.4, 0.7)])
def test_what_is_left_out_is_found_chunk_by_chunk(soften):
    rows = 2048
    values = [value.detach().float().requires_grad_() for value in batch(rows=rows, dim=4)]
    reports = [f"{REPORTS[row % 6]} {row // 9}" for row in range(rows)]
    keys = torch.stack([torch.arange(rows) // 2, torch.arange(rows) % 50], dim=1)
    known = Companions(keys, None if soften is None else word_table(reports, 64))
    with Largest() as largest:
        SigLIP(chunk=16, soften=soften)(*values, known).backward()
    assert largest.bytes <= 16 * rows * 16  # not one of rows x rows, not even of bytes
    assert largest.bytes < rows * rows


def test_siglip_in_chunks_keeps_a_sixteenth_at_most():
    values = batch(rows=1024)
    plain = kept_for_backward(SigLipLoss(), values)
    chunked = kept_for_backward(SigLIP(chunk=32), values)
    assert plain > 1024 * 1024 * 8
    assert chunked <= plain / 16
