"""Compute cross-entropy with label smoothing (Vaswani et al., 2017, 5.4; Szegedy et al., 2016, 7).

With smoothing e, vocabulary size V and logits x, the loss of a token y is

        (1 - e) * -log p(y)  +  e/V * sum_c -log p(c)   =   logsumexp(x) - (1 - e) x_y - e * mean(x)

as in `torch.nn.functional.cross_entropy`. Letters: N tokens, D d_model, V vocabulary.
"""

from typing import Any

import torch
from torch import nn

from .products import add_product, is_plain, multiply

IGNORED = -100  # label of positions without a target, as everywhere in transformers
# On a CPU, tokens whose logits are in memory at a time. Each chunk reads and writes the gradient of the weight once,
# which takes half as long as the products of 32 tokens and a tenth of those of 256, for any width and vocabulary. With
# more tokens than 256 logits leave the cache, and nothing is gained.
TOKENS_PER_CHUNK = 256
LOGITS_PER_CHUNK_ON_ACCELERATOR = 2**26  # enough to keep it busy


def tokens_per_chunk(weight: torch.Tensor) -> int:
    """Return the number of tokens whose logits are in memory at a time, for the weight `[V, D]` of a head."""
    if weight.device.type == "cpu":
        return TOKENS_PER_CHUNK
    return max(1, LOGITS_PER_CHUNK_ON_ACCELERATOR // len(weight))


class LinearCrossEntropy(torch.autograd.Function):
    """Sum the cross-entropy of `hidden @ weight.T + bias` over tokens, without storing all logits `[N, V]`.

    The gradient of the logits, softmax(x) - (1 - e) onehot(y) - e/V, is known in the forward pass already. So the
    forward pass computes the gradients of each chunk of tokens and frees its logits; nothing is computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        label_smoothing: float,
    ) -> torch.Tensor:
        chunk_size = tokens_per_chunk(weight)
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        grad_bias = torch.zeros_like(bias) if bias is not None and needs_bias else None
        loss = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), chunk_size):
            tokens = slice(start, start + chunk_size)
            states, targets = hidden[tokens], labels[tokens].unsqueeze(-1)  # [n, D], [n, 1]
            logits = multiply(states, weight, bias).float()  # [n, V]
            largest = logits.amax(dim=-1)  # [n]
            loss -= (1 - label_smoothing) * logits.gather(-1, targets).sum()
            if label_smoothing:
                loss -= label_smoothing * logits.mean(dim=-1).sum()
            # On some CPUs `exp` is five times slower than `softmax`. The largest probability is at least 1/V, so its
            # logarithm is exact: logsumexp(x) = max(x) - log(max(softmax(x))).
            probabilities = torch.softmax(logits, dim=-1, out=logits)  # [n, V]
            loss += (largest - probabilities.amax(dim=-1).log()).sum()
            if any(ctx.needs_input_grad):
                grad = probabilities
                if label_smoothing:
                    grad.sub_(label_smoothing / len(weight))
                grad.scatter_add_(-1, targets, grad.new_full(targets.shape, label_smoothing - 1.0))
                grad = grad.to(states.dtype)
            if grad_hidden is not None:
                grad_hidden[tokens] = multiply(grad, weight.T)
            if grad_weight is not None:
                add_product(grad_weight, grad, states)
            if grad_bias is not None:
                grad_bias += grad.sum(dim=0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grads = (None if grad is None else grad * grad_loss.to(grad.dtype) for grad in ctx.saved_tensors)
        return *grads, None, None


def operands(states: torch.Tensor, head: nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return `states` `[..., D]` and the weight and bias of a head that can be fused, in the precision of autocast."""
    if torch.is_autocast_enabled(states.device.type):
        states = states.to(torch.get_autocast_dtype(states.device.type))
    parameters: Any = head
    bias = None if parameters.bias is None else parameters.bias.to(states.dtype)
    return states, parameters.weight.to(states.dtype), bias


def translation_loss(
    hidden: torch.Tensor,
    head: nn.Module,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the loss of `labels` for the decoder's output, without storing the logits `[B, T, V]`.

    Args:
        hidden: `[B, T, D]`, output of the decoder. head: the projection to the vocabulary.
        labels: `[B, T]`, not shifted again; -100 where there is no target.
        num_items_in_batch: number of targets to divide the sum by. With the count of a complete step, the gradients of
            micro-batches and processes add up to that of one large batch. None: the mean over the targets here.
        label_smoothing: e of section 5.4, in [0, 1).

    Returns:
        A scalar in fp32; 0 if there is no target.
    """
    if is_plain(head):
        real = labels != IGNORED  # [B, T]
        total = LinearCrossEntropy.apply(*operands(hidden[real], head), labels[real], label_smoothing)
        return total / (real.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)
    return cross_entropy(head(hidden), labels, num_items_in_batch, label_smoothing)


def cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Return `translation_loss` for given logits `[B, T, V]`."""
    labels = labels.to(logits.device)
    total = nn.functional.cross_entropy(
        logits.float().flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    if num_items_in_batch is None:
        return total / (labels != IGNORED).sum().clamp(min=1)
    return total / num_items_in_batch
