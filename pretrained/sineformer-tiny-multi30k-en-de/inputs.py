"""Check the arguments of the forward methods and of `generate`, and shift labels into decoder inputs.

Every error names the argument and the fix. Checks read shapes only; token ids are read on the CPU outside a compiler,
where it costs no wait for a device. Letters: B batch, S length, D d_model.
"""

from collections.abc import Mapping

import torch
from torch import nn

from .loss import IGNORED


def check_exactly_one(**arguments: object) -> None:
    """Raise ValueError unless exactly one of the arguments is given."""
    given = [name for name, value in arguments.items() if value is not None]
    if len(given) != 1:
        names = " or ".join(f"`{name}`" for name in arguments)
        found = "none of them" if not given else " and ".join(f"`{name}`" for name in given)
        raise ValueError(f"Give exactly one of {names}; got {found}.{_advice(arguments)}")


def _advice(arguments: Mapping[str, object]) -> str:
    if "decoder_input_ids" not in arguments or any(value is not None for value in arguments.values()):
        return ""
    return (
        " `labels` work too. A Trainer that computes the loss itself (`label_smoothing_factor`, "
        "`compute_loss_func`) does not pass labels to the model: give its collator the model, "
        "`DataCollatorForSeq2Seq(tokenizer, model=model)`."
    )


def check_source(token_ids: object) -> None:
    """Raise unless the source of `generate` is a tensor of token ids `[B, S]` or None."""
    if token_ids is None:
        return
    if not isinstance(token_ids, torch.Tensor):
        raise TypeError(
            f"`generate` got a {type(token_ids).__name__} as its source; give a tensor of token ids "
            '[batch, length], e.g. by `tokenizer(texts, return_tensors="pt", padding=True)` or `torch.tensor`.'
        )
    check_shape("input_ids", token_ids)


def check_token_ids(name: str, token_ids: torch.Tensor, embedding: nn.Module) -> None:
    """Raise unless `token_ids` is `[B, S]`, of integers and, on the CPU, in the vocabulary of `embedding`."""
    check_shape(name, token_ids)
    size = getattr(embedding, "num_embeddings", None)
    if size is not None and _is_readable(token_ids):
        lowest, highest = (int(bound) for bound in token_ids.aminmax())
        if lowest < 0 or highest >= size:
            raise ValueError(
                f"`{name}` holds token id {lowest if lowest < 0 else highest}, but the vocabulary has ids 0 to "
                f"{size - 1}. Use the tokenizer this model was trained with, or `resize_token_embeddings`."
            )


def check_shape(name: str, token_ids: torch.Tensor) -> None:
    """Raise unless `token_ids` is `[B, S]`, of integers and with at least one token per row."""
    if token_ids.ndim != 2:
        fix = " Add a dimension with `unsqueeze(0)`." if token_ids.ndim == 1 else ""
        raise ValueError(f"`{name}` has shape {list(token_ids.shape)}; it must be [batch, length].{fix}")
    if token_ids.shape[1] == 0:
        raise ValueError(
            f"`{name}` has shape {list(token_ids.shape)}, no token at all. Give at least one; a tokenizer that "
            "ends every text with an end token does."
        )
    if token_ids.is_floating_point() or token_ids.dtype == torch.bool:
        raise TypeError(f"`{name}` has dtype {token_ids.dtype}; give token ids of dtype torch.long.")


def check_mask(name: str, mask: torch.Tensor | None, length: int | None) -> None:
    """Raise ValueError unless `mask` is None, `[B, length]` or a prepared mask `[B, 1 or H, T, S]`."""
    if mask is None or mask.ndim == 4:
        return
    if mask.ndim != 2 or (length is not None and mask.shape[1] != length):
        expected = f"[batch, {length if length is not None else 'length'}]"
        raise ValueError(
            f"`{name}` has shape {list(mask.shape)}; it must be {expected}, 1 for real tokens and 0 for padding, "
            "with one column for each token, cached tokens included (or a prepared mask of 4 dimensions)."
        )


def check_labels(
    labels: torch.Tensor,
    decoder_input_ids: torch.Tensor | None,
    decoder_inputs_embeds: torch.Tensor | None,
    embedding: nn.Module,
) -> None:
    """Raise ValueError unless `labels` has the shape of the decoder's input and, on the CPU, ids in the vocabulary."""
    for inputs in (decoder_input_ids, decoder_inputs_embeds):
        if inputs is not None and labels.shape != inputs.shape[:2]:
            raise ValueError(
                f"`labels` has shape {list(labels.shape)}, but the decoder's input has {list(inputs.shape[:2])}; "
                "the shapes must be equal, since labels are not shifted again."
            )
    check_token_ids("labels", labels.masked_fill(labels == IGNORED, 0), embedding)


def shift_tokens_right(
    labels: torch.Tensor, pad_token_id: int | None, decoder_start_token_id: int | None
) -> torch.Tensor:
    """Return the decoder input for `labels` `[B, T]`: the start token, then all labels but the last; -100 as padding.

    Raises:
        ValueError: the pad or start token id is None, or `labels` has another shape.
    """
    if pad_token_id is None or decoder_start_token_id is None:
        name = "pad_token_id" if pad_token_id is None else "decoder_start_token_id"
        raise ValueError(
            f"Decoder inputs cannot be made from `labels`, because `config.{name}` is None. "
            f"Set `config.{name}`, or give `decoder_input_ids`."
        )
    if labels.ndim != 2:
        raise ValueError(f"`labels` has shape {list(labels.shape)}; it must be [batch, length].")
    shifted = labels.roll(1, dims=1)  # [B, T]
    shifted[:, 0] = decoder_start_token_id
    return shifted.masked_fill(shifted == IGNORED, pad_token_id)


def _is_readable(tensor: torch.Tensor) -> bool:
    plain = type(tensor) is torch.Tensor and tensor.device.type == "cpu" and tensor.numel() > 0
    return plain and not (torch.compiler.is_compiling() or torch._C._is_tracing())
