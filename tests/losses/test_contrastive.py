"""Does the contrastive loss contrast what it should, over all devices as over one?"""

import forked
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch.nn.functional import cross_entropy, normalize

from cxrvl.errors import ConfigError
from cxrvl.losses.contrastive import NO_DOCUMENT, NO_KEY, HardNegativeLoss

WORLD = 2


def batch(rows=6, negatives=6, dim=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, dim, generator=generator, dtype=torch.float64) for count in (rows, rows, negatives)]


def keys(*columns):
    return torch.tensor(columns, dtype=torch.int64).T.contiguous()


def test_a_pair_that_shares_a_key_is_no_negative():
    query, positive, negative = batch()
    shared = keys([1, 2, 3, 1, 5, 6], [NO_KEY] * 6)
    found = HardNegativeLoss(20.0)(query, positive, negative, shared, keys([NO_KEY] * 6, [NO_KEY] * 6))
    logits = 20 * normalize(query, dim=-1) @ normalize(torch.cat([positive, negative]), dim=-1).T
    logits[0, 3] = logits[3, 0] = float("-inf")
    torch.testing.assert_close(found, cross_entropy(logits, torch.arange(6)))
    assert not torch.isclose(found, HardNegativeLoss(20.0)(query, positive, negative))


def test_a_negative_with_the_text_of_a_positive_is_left_out_for_its_queries():
    query, positive, negative = batch(negatives=2)
    found = HardNegativeLoss()(query, positive, negative, keys([1, 2, 3, 4, 5, 6]), keys([2, NO_KEY]))
    logits = 20 * normalize(query, dim=-1) @ normalize(torch.cat([positive, negative]), dim=-1).T
    logits[1, 6] = float("-inf")
    torch.testing.assert_close(found, cross_entropy(logits, torch.arange(6)))


def test_a_query_with_the_text_of_another_document_is_no_negative_of_it():
    query, positive, negative = batch(negatives=2)
    texts = keys([1, 2, 3, 4, 5, 6], [11, 12, 1, 14, 15, 2])  # two pairs the other way round
    found, _ = HardNegativeLoss().logits(query, positive, negative, texts, keys([NO_KEY] * 2, [4, 99]))
    left_out = torch.zeros(6, 8, dtype=torch.bool)
    for row, document in ((0, 2), (2, 0), (1, 5), (5, 1), (3, 6)):
        left_out[row, document] = True
    torch.testing.assert_close(found == float("-inf"), left_out)


def test_a_negative_that_only_fills_the_batch_changes_nothing():
    query, positive, negative = batch(negatives=1)
    with_one = HardNegativeLoss()(query, positive, negative, keys([1, 2, 3, 4, 5, 6]), keys([NO_DOCUMENT]))
    torch.testing.assert_close(with_one, HardNegativeLoss()(query, positive))


def test_both_directions():
    query, positive, negative = batch()
    found = HardNegativeLoss(20.0, "both")(query, positive, negative)
    there = HardNegativeLoss(20.0)(query, positive, negative)
    back = HardNegativeLoss(20.0)(positive, query)
    torch.testing.assert_close(found, (there + back) / 2)


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"directions": "sideways"}])
def test_options_that_cannot_be_right(options):
    with pytest.raises(ConfigError, match="expected a positive scale"):
        HardNegativeLoss(**options)


def test_half_precision_embeddings_are_contrasted_in_full_precision():
    query, positive, negative = (part.bfloat16() for part in batch())
    assert HardNegativeLoss()(query, positive, negative).dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("directions", ["query_to_document", "both"])
def test_devices_together_have_the_loss_and_gradient_of_one(directions, tmp_path):
    whole = [part.requires_grad_() for part in batch()]
    shared = keys([1, 2, 3, 1, 5, 6])
    loss = HardNegativeLoss(20.0, directions)(*whole, shared, keys([NO_KEY, 2, NO_KEY, NO_KEY, NO_DOCUMENT, NO_KEY]))
    loss.backward()
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = store.port
    del store
    forked.preload()
    arguments = {"args": (directions, port, str(tmp_path)), "nprocs": WORLD, "start_method": "forkserver"}
    torch.multiprocessing.start_processes(compute_share, **arguments)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    torch.testing.assert_close(torch.stack([part["loss"] for part in parts]).mean(), loss.detach())
    for place, value in enumerate(whole):
        # Devices average their gradients, as DDP does.
        together = torch.cat([part["grads"][place] for part in parts]) / WORLD
        torch.testing.assert_close(together, value.grad, atol=1e-12, rtol=1e-9)


def compute_share(rank, directions, port, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD)
    own = slice(rank * 3, rank * 3 + 3)
    parts = [part[own].clone().requires_grad_() for part in batch()]
    shared = keys([1, 2, 3, 1, 5, 6])[own]
    negative_keys = keys([NO_KEY, 2, NO_KEY, NO_KEY, NO_DOCUMENT, NO_KEY])[own]
    loss = HardNegativeLoss(20.0, directions)(*parts, shared, negative_keys)
    loss.backward()
    torch.save({"loss": loss.detach(), "grads": [part.grad for part in parts]}, f"{folder}/{rank}.pt")
    forked.leave()
