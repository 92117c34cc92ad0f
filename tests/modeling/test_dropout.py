"""Our dropout on a CPU has the distribution of PyTorch's."""

import pytest
import torch
from torch import nn

from sineformer.modeling.dropout import dropout

SIZE = 1_000_003  # not a multiple of the four values that one draw decides for


def kept(probability: float, seed: int = 0) -> torch.Tensor:
    """Return which of `SIZE` ones are kept, and check that these are scaled to keep the mean."""
    torch.manual_seed(seed)
    output = dropout(torch.ones(SIZE), probability, training=True)
    assert torch.equal(output.unique(), torch.tensor([0.0, output.max()]))
    assert float(output.max()) == pytest.approx(1 / (1 - probability), rel=1e-3)
    return (output > 0).double()


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.3, 0.5, 0.9, 0.99])
def test_drops_with_its_probability(probability: float) -> None:
    deviation = (probability * (1 - probability) / SIZE) ** 0.5
    assert abs(float(kept(probability).mean()) - (1 - probability)) < 4 * deviation + 2**-17


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 5, 8, 128, 129])
def test_neighbours_are_independent(distance: int) -> None:
    values = kept(0.3) - 0.7
    correlation = (values[:-distance] * values[distance:]).mean() / 0.21
    assert abs(float(correlation)) < 4 / SIZE**0.5


def test_values_of_one_draw_are_dropped_equally_often() -> None:
    whole = kept(0.3)[: SIZE // 4 * 4].view(-1, 4)
    assert float((whole.mean(dim=0) - 0.7).abs().max()) < 4 * (0.21 / len(whole)) ** 0.5


def test_calls_differ_and_follow_the_seed() -> None:
    states = torch.ones(1000)
    torch.manual_seed(1)
    first, second = dropout(states, 0.5, True), dropout(states, 0.5, True)
    torch.manual_seed(1)
    assert torch.equal(first, dropout(states, 0.5, True))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5, 7), ()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_keeps_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    output = dropout(torch.ones(shape, dtype=dtype), 0.25, True)
    assert output.shape == shape
    assert output.dtype == dtype


def test_gradient_is_the_mask() -> None:
    states = torch.ones(7, 9, requires_grad=True)
    output = dropout(states, 0.4, True)
    output.sum().backward()
    assert torch.equal(states.grad, output.detach())


@pytest.mark.parametrize(("probability", "training"), [(0.0, True), (0.4, False), (1e-6, False)])
def test_without_dropout_nothing_is_drawn(probability: float, training: bool) -> None:
    states, before = torch.randn(10), torch.get_rng_state()
    assert torch.equal(dropout(states, probability, training), states)
    assert torch.equal(before, torch.get_rng_state())


def test_probability_one_drops_everything() -> None:
    assert not dropout(torch.ones(9), 1.0, True).any()


def test_a_recomputed_layer_drops_the_same() -> None:
    states = torch.randn(50, 8, requires_grad=True)
    plain = nn.Sequential(nn.Linear(8, 8))

    def layer(x: torch.Tensor) -> torch.Tensor:
        return dropout(plain(x), 0.5, True).square()

    grads = []
    for checkpointed in (False, True):
        torch.manual_seed(3)
        output = (
            torch.utils.checkpoint.checkpoint(layer, states, use_reentrant=False) if checkpointed else layer(states)
        )
        grads.append(torch.autograd.grad(output.sum(), states)[0])
    assert torch.equal(*grads)


@pytest.mark.parametrize("states", [torch.ones(4, device="meta"), nn.Parameter(torch.ones(4))])
def test_other_tensors_are_left_to_pytorch(states: torch.Tensor) -> None:
    torch.manual_seed(0)
    output = dropout(states, 0.5, True)
    torch.manual_seed(0)
    expected = nn.functional.dropout(states, 0.5, True)
    assert output.device == expected.device
    assert states.is_meta or torch.equal(output, expected)
