r"""Encode positions by sines and cosines (Vaswani et al., 2017, section 3.5).

        P[p, 2i]   = sin(p / 10000^(2i/D))
        P[p, 2i+1] = cos(p / 10000^(2i/D))

Letters of the shape comments: B batch, S length, D d_model.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def sinusoidal_encoding(positions: torch.Tensor, d_model: int, layout: str = "interleaved") -> torch.Tensor:
    """Return the encoding of section 3.5 for any positions.

    Angles are computed in fp64 and the result is rounded once to fp32, so that large positions are exact too.

    Args:
        positions: `[...]`, integers from 0.
        d_model: D, even.
        layout: "interleaved", sin on even and cos on odd features, as in the paper; or "halves", the same features
            with all sines first, as in tensor2tensor and Marian.

    Returns:
        `[..., D]` in fp32.

    Raises:
        ValueError: `d_model` is odd, or the layout unknown.
    """
    if d_model % 2:
        raise ValueError(f"`d_model` is {d_model}; it must be even, for one sine and one cosine per frequency.")
    two_i = torch.arange(0, d_model, 2, dtype=torch.float64, device=positions.device)  # [D/2]
    angles = positions.to(torch.float64).unsqueeze(-1) / 10000 ** (two_i / d_model)  # [..., D/2]
    if layout == "interleaved":
        encoding = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)  # [..., D]
    elif layout == "halves":
        encoding = torch.cat([angles.sin(), angles.cos()], dim=-1)  # [..., D]
    else:
        raise ValueError(f"`layout` is {layout!r}; use 'interleaved' or 'halves'.")
    return encoding.to(torch.float32)


def count_positions(attention_mask: torch.Tensor, length: int) -> torch.Tensor:
    """Return positions that count real tokens only, so that padding on either side does not shift a sentence.

    Args:
        attention_mask: `[B, S]`, nonzero for real tokens.
        length: number of positions to return, the last ones of S.

    Returns:
        `[B, length]`: for a real token the number of real tokens before it. Padding gets some valid position.
    """
    counts = attention_mask.ne(0).long().cumsum(dim=-1)  # [B, S]
    return (counts[:, -length:] - 1).clamp(min=0)  # [B, length]


class SinusoidalPositionalEncoding(nn.Module):
    """Look up `sinusoidal_encoding` in a table, by position.

    The table is a non-persistent buffer and stays in fp32 when the model is cast: after `.to`, `.half` or `.to_empty`
    it equals the closed form, bit for bit.

    Args:
        num_positions: initial number of rows of the table.
        d_model: D. layout: see `sinusoidal_encoding`.
    """

    def __init__(self, num_positions: int, d_model: int, layout: str = "interleaved"):
        super().__init__()
        self.d_model = d_model
        self.layout = layout
        self.table: torch.Tensor
        self.register_buffer("table", self.closed_form(num_positions), persistent=False)  # [P, D]

    def closed_form(self, num_positions: int) -> torch.Tensor:
        """Return the first `num_positions` rows `[num_positions, D]`, fp32, on the CPU whatever the default device."""
        return sinusoidal_encoding(torch.arange(num_positions, device="cpu"), self.d_model, self.layout)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)
        device = self.table.device
        if device.type != "meta":
            self.table = self.closed_form(self.table.shape[0]).to(device)
        return self

    def forward(self, positions: torch.Tensor, max_length: int | None = None, **kwargs: Any) -> torch.Tensor:
        """Encode `positions` `[B, S]` as `[B, S, D]` in fp32.

        Args:
            max_length: a number above every position, if known; it saves reading the positions, which on an
                accelerator waits for the device.
        """
        if torch.compiler.is_exporting():
            # The table's size would become the maximum length of the exported program.
            return sinusoidal_encoding(positions, self.d_model, self.layout)
        if max_length is None:
            max_length = int(positions.max()) + 1 if positions.numel() else 0
        if max_length > self.table.shape[0]:
            if torch.compiler.is_compiling():
                return sinusoidal_encoding(positions, self.d_model, self.layout)
            # Doubling: a decoder past the end of the table recomputes it only rarely.
            num_positions = max(max_length, 2 * self.table.shape[0])
            self.table = self.closed_form(num_positions).to(self.table.device)
        return self.table[positions]
