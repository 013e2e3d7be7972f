"""Do the layers that must not round to bf16 compute in float32, and are they no more than needed?"""

from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny
import torch

from cxrvl.models.text.rounding import Float32Layers, choose_float32_layers, layers_of

DEPTH = 5


def embed(model, rounded):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=rounded):
        return model.encode(tiny.REPORTS).float()


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "bert"])
def test_layers_kept_in_float32_take_bf16s_rounding_away(architecture):
    model = tiny.encoder(architecture, {"num_hidden_layers": DEPTH})
    exact, kept = embed(model, rounded=False), Float32Layers(model)
    assert len(layers_of(model)) == len(kept.layers) == DEPTH
    gaps = []
    for kept.count in range(DEPTH + 1):
        gaps.append((embed(model, rounded=True) - exact).abs().max().item())
    assert gaps[0] > 100 * gaps[DEPTH]
    assert gaps[1] != gaps[0]
    torch.testing.assert_close(embed(model, rounded=False), exact, atol=0, rtol=0)


def test_autocast_is_as_before_when_a_layer_fails(monkeypatch):
    model = tiny.encoder()
    kept = Float32Layers(model)
    kept.count = 1
    monkeypatch.setattr(kept.layers[0].mlp, "forward", lambda *_: 1 / 0)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ZeroDivisionError):
            model.encode(tiny.REPORTS)
        assert torch.is_autocast_enabled("cpu")
        assert (torch.randn(2, 2) @ torch.randn(2, 2)).dtype == torch.bfloat16


def test_the_fewest_layers_that_are_close_enough_are_chosen():
    model = tiny.encoder(sizes={"num_hidden_layers": DEPTH})
    exact, kept = embed(model, rounded=False), Float32Layers(model)
    cosines = []
    for kept.count in range(DEPTH + 1):
        cosines.append(torch.nn.functional.cosine_similarity(embed(model, rounded=True), exact).min().item())
    assert cosines == sorted(cosines)  # of this model; else the search below need not find the fewest
    for close in (0.5, *cosines[1:]):
        chosen = choose_float32_layers(kept, model, tiny.REPORTS, close=close)
        least = next(count for count, cosine in enumerate(cosines) if cosine >= close)
        assert kept.count == chosen.layers == least
        assert chosen.cosine == pytest.approx(cosines[least], abs=1e-7)
        assert chosen.alone == pytest.approx(cosines[0], abs=1e-7)
    # Nothing is close enough: all of them.
    assert choose_float32_layers(kept, model, tiny.REPORTS, close=2.0).layers == DEPTH


def test_embeddings_that_are_no_numbers_are_never_close():
    model = tiny.encoder()
    kept = Float32Layers(model)
    with torch.no_grad():
        kept.layers[0].mlp.down_proj.weight.fill_(float("nan"))
    chosen = choose_float32_layers(kept, model, tiny.REPORTS)
    assert chosen.layers == len(kept.layers)
    assert not chosen.cosine >= 0  # no number: its user warns


def test_threads_do_not_meet():
    """One encoder that serves several threads: autocast is of each, and stays so."""
    model = tiny.encoder()
    kept = Float32Layers(model)
    kept.count = len(kept.layers)
    wanted = {rounded: embed(model, rounded) for rounded in (True, False)}

    def work(rounded):
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            for _ in range(40):
                found = model.encode(tiny.REPORTS).detach().float()
                torch.testing.assert_close(found, wanted[rounded], atol=1e-6, rtol=1e-5)
                assert torch.is_autocast_enabled("cpu") == rounded

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [True, False, True, False]))
