r"""Compute the loss of two noisy passes over a batch: R-Drop (Liang et al., 2021) and SimCut (Gao et al., 2022).

Both add to the cross-entropy (CE) of the distributions P and Q of the two passes the divergences between them:

        a CE(P) + b CE(Q)  +  c KL(P || Q) + d KL(Q || P)

        R-Drop with weight w:   a = b = 1/2, c = d = w/2    both passes differ by their dropout (equations 2 to 4)
        SimCut with weight w:   a = 1, b = 0, c = w, d = 0  Q lacks some tokens of the input too (section 3.3)

as in the authors' code: equation 4 of R-Drop is twice that, with twice the weight, and both passes of SimCut get a
gradient. With r = log P - log Q, and t the smoothed target of cross-entropy, the gradient of the logits is

        of P:   a (P - t)  +  c P (r - KL(P || Q))  +  d (P - Q)
        of Q:   b (Q - t)  +  d Q (-r - KL(Q || P))  +  c (Q - P)

Letters: B batch, T target length, N tokens, D d_model, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from .loss import IGNORED, operands, tokens_per_chunk
from .products import add_product, is_plain, multiply


class Weights(NamedTuple):
    """Weights of the sum, for P and Q: of their cross-entropies (a, b), and of KL(P || Q) and KL(Q || P) (c, d)."""

    entropies: tuple[float, float]
    divergences: tuple[float, float]


def pop_weights(keywords: dict[str, Any]) -> Weights | None:
    """Remove `r_drop` and `simcut` from `keywords` and return their weights; None if both are 0 or missing.

    Raises:
        ValueError: both are given.
    """
    r_drop, simcut = keywords.pop("r_drop", 0.0), keywords.pop("simcut", 0.0)
    if r_drop and simcut:
        raise ValueError("Give `r_drop` or `simcut`; both compare two passes, in different ways.")
    if simcut:
        return Weights((1.0, 0.0), (simcut, 0.0))
    return Weights((0.5, 0.5), (r_drop / 2, r_drop / 2)) if r_drop else None


class LinearConsistency(torch.autograd.Function):
    """Sum the loss of two passes over tokens, without storing all logits `[2, N, V]`.

    As in `LinearCrossEntropy`, the gradient is known in the forward pass, which computes it for each chunk of tokens.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        label_smoothing: float,
        weights: Weights,
    ) -> torch.Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        grad_bias = torch.zeros_like(bias) if bias is not None and needs_bias else None
        loss = hidden.new_zeros((), dtype=_precise(hidden.dtype))
        size = max(1, tokens_per_chunk(weight) // 2)
        for start in range(0, len(labels), size):
            tokens = slice(start, start + size)
            states = hidden[:, tokens]  # [2, n, D]
            logs = multiply(states, weight, bias).to(loss.dtype).log_softmax(dim=-1)  # [2, n, V]
            compared = _compare(logs)
            loss += _loss(logs, compared[-1], labels[tokens], label_smoothing, weights).sum()
            if any(ctx.needs_input_grad):
                grad = _gradient(compared, labels[tokens], label_smoothing, weights).to(states.dtype)
            if grad_hidden is not None:
                grad_hidden[:, tokens] = multiply(grad, weight.T)
            if grad_weight is not None:
                add_product(grad_weight, grad.flatten(0, 1), states.flatten(0, 1))
            if grad_bias is not None:
                grad_bias += grad.sum(dim=(0, 1))
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grads = (None if grad is None else grad * grad_loss.to(grad.dtype) for grad in ctx.saved_tensors)
        return *grads, None, None, None


def consistency_loss(
    hidden: torch.Tensor,
    head: nn.Module,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None,
    label_smoothing: float,
    weights: Weights,
) -> torch.Tensor:
    """Return the loss of two passes, without storing the logits `[2 B, T, V]` unless the head must be called.

    The sum over the targets of one pass is divided by `num_items_in_batch`, as in `translation_loss`.

    Args:
        hidden: `[2 B, T, D]`, output of the decoder for the first pass, then for the second.
        labels: `[2 B, T]`; the second half repeats the first.

    Raises:
        ValueError: the halves have different labels.
    """
    labels, repeated = labels.tensor_split(2)  # [B, T] each
    compiling = torch.compiler.is_compiling()  # which cannot read values
    if labels.shape != repeated.shape or not (compiling or torch.equal(labels, repeated)):
        raise ValueError(
            "With `r_drop` or `simcut`, the batch must hold every example twice: `torch.cat([batch, batch])`."
        )
    real = labels != IGNORED  # [B, T]
    if is_plain(head):
        states = torch.stack([half[real] for half in hidden.chunk(2)])  # [2, N, D]
        total = LinearConsistency.apply(*operands(states, head), labels[real], label_smoothing, weights)
    else:
        logits = head(hidden)  # [2 B, T, V]
        logs = logits.to(_precise(logits.dtype)).log_softmax(dim=-1).unflatten(0, (2, -1))  # [2, B, T, V]
        labels = labels.to(logs.device)
        losses = _loss(logs, _compare(logs)[-1], labels.clamp(min=0), label_smoothing, weights)  # [B, T]
        total = losses.masked_fill(labels == IGNORED, 0.0).sum()
    return total / (real.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _compare(logs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return P and Q, their log ratios r and -r, `[2, ..., V]` each, and KL(P || Q) and KL(Q || P), `[2, ...]`."""
    # The softmax of log-probabilities is their exponential, for which some CPUs take several times as long.
    probabilities, ratios = logs.softmax(dim=-1), logs - logs.flip(0)
    return probabilities, ratios, (probabilities * ratios).sum(dim=-1)


def _loss(
    logs: torch.Tensor, divergences: torch.Tensor, labels: torch.Tensor, label_smoothing: float, weights: Weights
) -> torch.Tensor:
    """Return the loss of each token `[...]` for log P and log Q, `[2, ..., V]`."""
    likelihoods = logs.gather(-1, labels.expand(2, *labels.shape).unsqueeze(-1)).squeeze(-1)  # [2, ...]
    entropies = -(1 - label_smoothing) * likelihoods - label_smoothing * logs.mean(dim=-1)
    (a, b), (c, d) = weights
    return a * entropies[0] + b * entropies[1] + c * divergences[0] + d * divergences[1]


def _gradient(
    compared: tuple[torch.Tensor, ...], labels: torch.Tensor, label_smoothing: float, weights: Weights
) -> torch.Tensor:
    """Return the gradient of the logits, `[2, n, V]`, from what `_compare` returned, whose ratios are overwritten."""
    probabilities, grad, divergences = compared
    entropies, own = probabilities.new_tensor(weights).unsqueeze(-1).unsqueeze(-1)  # [2, 1, 1] each: (a, b), (c, d)
    other = own.flip(0)  # (d, c)
    grad.sub_(divergences.unsqueeze(-1)).mul_(own).add_(entropies + other).mul_(probabilities)
    grad.sub_(other * probabilities.flip(0)).sub_(entropies * label_smoothing / probabilities.shape[-1])
    targets = labels.expand(2, -1).unsqueeze(-1)  # [2, n, 1]
    return grad.scatter_add_(-1, targets, (-entropies * (1 - label_smoothing)).expand(targets.shape))
