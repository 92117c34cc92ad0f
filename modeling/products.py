r"""Multiply states by weights, x W^T + b, on AMD's processors with AVX-512 faster than PyTorch does by itself.

PyTorch multiplies matrices of fp32 with Intel's MKL, which uses AVX-512 on Intel's processors alone. oneDNN, which
PyTorch contains too, uses it on both, and takes less than half the time on AMD's. Elsewhere these functions are
PyTorch's, and everywhere if `torch.backends.mkldnn.enabled` is False.

Letters of the shape comments: N rows, D width of the states, F width of the product.
"""

import functools
from typing import Any

import torch
from torch import nn

# Multiplications from which on oneDNN is faster: as many as it has time for while it finds out what to do.
ENOUGH = 2**20


def project(projection: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """Call `projection` on `states`: map `[..., D]` to `[..., F]`."""
    if type(projection) is nn.Linear and _suits_onednn(states, projection.weight) and is_plain(projection):
        product: torch.Tensor = OneDNNLinear.apply(states, projection.weight, projection.bias)
        return product
    called: torch.Tensor = projection(states)
    return called


def is_plain(projection: nn.Module) -> bool:
    """Return whether calling `projection` does no more than multiply by its weight and add its bias.

    Adapters, quantised or offloaded weights, tensor parallelism and hooks do more. While compiling it is to be called
    too: the compiler arranges the plain computation itself.
    """
    return (
        type(projection) is nn.Linear
        and getattr(projection.forward, "__func__", None) is nn.Linear.forward
        and type(projection.weight) is nn.Parameter
        and projection.weight.device.type != "meta"
        and not (projection._forward_pre_hooks or projection._forward_hooks)
        and not (projection._backward_pre_hooks or projection._backward_hooks)
        and not torch.compiler.is_compiling()
    )


def multiply(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return `torch.nn.functional.linear` of the same arguments, where no gradient is needed."""
    if _suits_onednn(states, weight):
        return _by_onednn(states, weight, bias)
    return nn.functional.linear(states, weight, bias)


def add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add left^T right, of `[N, F]` and `[N, D]`, to `total` `[F, D]` in place, where no gradient is needed."""
    if _suits_onednn(right.T, left.T):
        total += _by_onednn(right.T, left.T, None).T
    else:
        total.addmm_(left.T, right)


class OneDNNLinear(torch.autograd.Function):
    """x W^T + b and its gradient by oneDNN."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(states, weight)
        return _by_onednn(states, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        needs_states, needs_weight, needs_bias = ctx.needs_input_grad
        # With gradients enabled, this gradient is to have one itself.
        product = nn.functional.linear if torch.is_grad_enabled() else _by_onednn
        rows, grads = (each.reshape(-1, each.shape[-1]) for each in (states, grad))  # [N, D], [N, F]
        return (
            product(grad, weight.T, None) if needs_states else None,
            product(rows.T, grads.T, None).T if needs_weight else None,  # faster than in the other order
            grads.sum(dim=0) if needs_bias else None,
        )


@functools.cache
def _is_onednn_faster() -> bool:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return (
        "AMD" in capabilities.get("cpu_name", "")
        and bool(capabilities.get("avx512_f"))
        and torch.backends.mkl.is_available()
        and _has_onednn()
    )


def _has_onednn() -> bool:
    """Return whether this release of PyTorch has oneDNN, behind the function that `_by_onednn` calls: no documented one
    leads to it."""
    states, weight, bias = (torch.ones(shape, dtype=torch.float32, device="cpu") for shape in ((1, 2), (3, 2), 3))
    try:
        return bool((_by_onednn(states, weight, bias) == 3).all())
    except (AttributeError, RuntimeError, TypeError):
        return False


def _suits_onednn(states: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether oneDNN can and should multiply: ordinary tensors of fp32 on a CPU, and large ones."""
    return (
        not torch.compiler.is_compiling()
        and _is_onednn_faster()
        and not torch._C._is_tracing()  # before the sizes, which are symbols there, as for the compiler
        and type(states) is torch.Tensor
        and states.numel() * weight.shape[0] >= ENOUGH
        and bool(torch.backends.mkldnn.enabled)
        and type(weight) in (torch.Tensor, nn.Parameter)
        and states.dtype == weight.dtype == torch.float32
        and states.device.type == weight.device.type == "cpu"
        and states.shape[-1] == weight.shape[-1]  # else PyTorch's error says more
        and not (torch.is_autocast_enabled("cpu") or torch._C._are_functorch_transforms_active())
    )


def _by_onednn(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return product
