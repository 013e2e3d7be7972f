"""Does the ACM compute what the paper says, forward and backward, under every way it is run?"""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError
from cxrvl.models.acm import ACM

PARTS = ("full", "difference", "key", "gate")


def slow_loop(module: ACM, x: Tensor) -> tuple[Tensor, Tensor]:
    """The formulas of acm.md section 1.1, one image and one group at a time."""
    outputs, dots = [], []
    for image in x:
        width = module.channels // module.groups
        mean = image.mean((1, 2))
        vectors = []
        for attention in (module.key_attention, module.query_attention):
            if attention is None:
                vectors.append(None)
                continue
            pooled = []
            for group in range(module.groups):
                own = image[group * width : (group + 1) * width]
                logits = (attention.weight[group, :, 0, 0][:, None, None] * own).sum(0)
                if attention.bias is not None:
                    logits = logits + attention.bias[group]
                weights = logits.exp() / logits.exp().sum()
                centred = own - mean[group * width : (group + 1) * width, None, None]
                pooled.append((weights * centred).sum((1, 2)))
            vectors.append(torch.cat(pooled))
        key, query = vectors
        y = image
        if key is not None:
            y = y + key[:, None, None]
        if query is not None:
            y = y - query[:, None, None]
        if module.gate_reduce is not None:
            hidden = module.gate_reduce(mean[None, :, None, None]).relu()
            y = y * module.gate_expand(hidden).sigmoid()[0]
        outputs.append(y)
        dots.append((key * query).mean() if key is not None and query is not None else x.new_zeros(()))
    return torch.stack(outputs), torch.stack(dots)


def objective(y: Tensor, dot: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    return (y.square() * weights).sum() + 3 * (dot * torch.arange(1, len(dot) + 1)).sum()


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("size", [(3, 5), (1, 1), (8, 2)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradients_equal_the_slow_loop(parts, size, memory_format):
    torch.manual_seed(0)
    module = ACM(12, groups=3, parts=parts, attention_bias=True).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    fast = torch.randn(2, 12, *size, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    slow = fast.detach().clone().requires_grad_()
    y = module(fast)
    objective(y, module.dot).backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    module.zero_grad()
    expected, expected_dot = slow_loop(module, slow)
    objective(expected, expected_dot).backward()
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(module.dot, expected_dot)
    torch.testing.assert_close(fast.grad, slow.grad)
    for (name, parameter), gradient in zip(module.named_parameters(), gradients, strict=True):
        assert gradient is not None, name
        torch.testing.assert_close(gradient, parameter.grad, msg=name)
    assert y.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(module.compare(fast).output, expected)


@pytest.mark.parametrize("parts", PARTS)
def test_gradcheck(parts):
    torch.manual_seed(1)
    module = ACM(8, groups=2, parts=parts).double()
    parameters = tuple(parameter.detach().requires_grad_() for parameter in module.parameters())
    names = [name for name, _ in module.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))
        return y, module.dot

    x = torch.randn(2, 8, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *parameters))


def test_dead_biases_get_exactly_zero_gradients_and_change_nothing():
    torch.manual_seed(0)
    biased, plain = ACM(16, groups=4, attention_bias=True), ACM(16, groups=4)
    plain.load_state_dict({k: v for k, v in biased.state_dict().items() if "attention.bias" not in k})
    nn.init.normal_(biased.key_attention.bias)
    x = torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(biased(x), plain(x), rtol=0, atol=0)
    biased(x).square().sum().backward()
    assert biased.key_attention.bias.grad.abs().max() == 0
    assert biased.query_attention.bias.grad.abs().max() == 0


def test_second_order_gradients_are_refused():
    module = ACM(8, groups=2)
    x = torch.randn(1, 8, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_backward_may_run_twice_over_a_kept_graph():
    module = ACM(8, groups=2)
    x = torch.randn(1, 8, 3, 3, requires_grad=True)
    loss = module(x).square().sum()
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    (second,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_output_may_be_changed_in_place_and_the_input_come_from_batch_norm():
    torch.manual_seed(0)
    module, norm = ACM(8, groups=2).double(), nn.BatchNorm2d(8).double()
    x = torch.randn(3, 8, 4, 4, dtype=torch.float64, requires_grad=True)
    y = module(norm(x))
    y += x
    y.relu_().square().sum().backward()
    got = x.grad.clone()
    x.grad = None
    (slow_loop(module, norm(x))[0] + x).relu().square().sum().backward()
    torch.testing.assert_close(got, x.grad)


def test_difference_is_invariant_to_a_constant_per_channel_and_dot_too():
    torch.manual_seed(0)
    module = ACM(16, groups=4, parts="difference").double()
    x = torch.randn(2, 16, 5, 3, dtype=torch.float64)
    shift = torch.randn(1, 16, 1, 1, dtype=torch.float64) * 3
    difference, dot = module(x) - x, module.dot
    torch.testing.assert_close(module(x + shift) - x - shift, difference)
    torch.testing.assert_close(module.dot, dot)


def test_an_image_gives_the_same_alone_and_in_a_batch():
    torch.manual_seed(0)
    module = ACM(64, groups=8)
    x = torch.randn(5, 64, 7, 7)
    together, dots = module(x), module.dot
    for index in range(len(x)):
        torch.testing.assert_close(module(x[index : index + 1])[0], together[index])
        torch.testing.assert_close(module.dot[0], dots[index])


@pytest.mark.parametrize("channels", [256, 512, 1024, 2048])
def test_parameter_count_follows_the_formula(channels):
    count = sum(p.numel() for p in ACM(channels, attention_bias=True).parameters())
    assert count == channels**2 // 32 + 7 * channels // 2 + 64


def test_gate_starts_at_a_half_or_where_it_is_told():
    torch.manual_seed(0)
    x = torch.randn(4, 256, 14, 14)
    gate = ACM(256).compare(x).gate
    assert abs(gate.mean() - 0.5) < 2e-3
    gate = ACM(256, gate_init=0.95).compare(x).gate
    assert abs(gate.mean() - 0.95) < 2e-3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": 40, "groups": 32}, ["40", "32"]),
        ({"channels": 8, "groups": 8, "reduction": 2}, ["8/2", "8"]),
        ({"channels": 16, "groups": 4, "reduction": 0}, ["reduction=0"]),
        ({"channels": 16, "groups": 4, "parts": "half"}, ["half", "full"]),
        ({"channels": 16, "groups": 4, "gate_init": 1.0}, ["gate_init=1.0"]),
        ({"channels": 16, "groups": 4, "gate_init": 0.9, "parts": "difference"}, ["no gate"]),
    ],
)
def test_impossible_settings_are_named(options, words):
    with pytest.raises(ConfigError) as error:
        ACM(**options)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_the_map_in_half_precision_and_the_rest_in_float32(dtype):
    torch.manual_seed(0)
    convolution, module = nn.Conv2d(3, 32, 1), ACM(32, groups=8)
    x = torch.randn(2, 3, 6, 5)
    with torch.autocast("cpu", dtype=dtype):
        features = convolution(x)
        y = module(features)
        y.float().square().mean().backward()
    assert y.dtype == dtype
    assert module.dot.dtype == torch.float32
    expected = module.compare(features.detach().float())
    torch.testing.assert_close(y.float(), expected.output, atol=0.03, rtol=0.03)
    torch.testing.assert_close(module.dot, expected.dot, atol=5e-3, rtol=0.03)
    half = module.gate_expand.weight.grad.clone()
    module.zero_grad()
    module(features.detach().float()).square().mean().backward()
    torch.testing.assert_close(half, module.gate_expand.weight.grad, atol=2e-3, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_many_positions_do_not_lose_the_mean_in_half_precision(dtype):
    torch.manual_seed(0)
    module = ACM(8, groups=2)
    x = (torch.randn(1, 8, 112, 112) + 3).to(dtype)
    torch.testing.assert_close(module(x).float(), module.compare(x.float()).output, atol=0.05, rtol=0.02)


def test_compiled_module_equals_the_eager_one():
    torch.manual_seed(0)
    module = ACM(16, groups=4)
    x = torch.randn(2, 16, 4, 4, requires_grad=True)
    eager, dot = module(x), module.dot
    (expected,) = torch.autograd.grad(eager.square().sum() + dot.sum(), x)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    y = compiled(x)
    (gradient,) = torch.autograd.grad(y.square().sum() + module.dot.sum(), x)
    torch.testing.assert_close(y, eager)
    torch.testing.assert_close(gradient, expected)


def test_every_parameter_takes_part_under_ddp(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(ACM(16, groups=4, attention_bias=True), ACM(16, groups=4, parts="key"))
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(network)
        for _ in range(2):  # the second step is refused if a parameter had no gradient in the first
            (parallel(torch.randn(2, 16, 3, 3)).square().sum() + network[0].dot.sum()).backward()
    finally:
        torch.distributed.destroy_process_group()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_model_that_has_run_can_be_copied_and_pickled():
    module = ACM(16, groups=4)
    x = torch.randn(1, 16, 3, 3)
    y = module(x)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert twin.dot is None
        torch.testing.assert_close(twin(x), y)
    assert module.dot is not None
