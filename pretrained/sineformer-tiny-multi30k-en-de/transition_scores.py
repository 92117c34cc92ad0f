"""How likely each token of a translation was, from what `generate` returns with `output_scores=True`."""

import torch


def transition_scores(
    sequences: torch.Tensor,
    scores: tuple[torch.Tensor, ...],
    beam_indices: torch.Tensor | None = None,
    normalize_logits: bool = False,
) -> torch.Tensor:
    """Return the score of each generated token `[B, T]`, 0 behind the end of a beam that ended early.

    As `GenerationMixin.compute_transition_scores`, which takes the target vocabulary for as large as the source's.

    Args:
        sequences: `[B, 1 + T]`, or behind a longer start.
        scores: of each step, `[B, V]`, or `[B * beams, V]` for beam search.
        beam_indices: `[B, T]`, the row of `scores` that each token was chosen from, below 0 behind the end; without
            beams there are none.
        normalize_logits: whether to make probabilities of the scores first, and take their logarithm.
    """
    stacked = torch.stack(scores)  # [T, B * beams, V]
    if normalize_logits:
        stacked = stacked.log_softmax(dim=-1)
    if beam_indices is None:
        beam_indices = torch.arange(len(sequences), device=sequences.device).unsqueeze(1).expand(-1, len(scores))
    length = int((beam_indices >= 0).sum(dim=1).max())
    rows = beam_indices[:, :length]  # [B, T]
    steps = torch.arange(length, device=sequences.device)  # [T]
    tokens = sequences[:, sequences.shape[1] - length :]  # [B, T]
    return stacked[steps, rows.clamp(min=0), tokens].masked_fill(rows < 0, 0.0)
