"""Parts of a model that training leaves as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn

# A name for all embeddings, whichever of these the model has.
EMBEDDINGS = {"embeddings": ("shared", "encoder.embed_tokens", "decoder.embed_tokens")}


def freeze(model: nn.Module, parts: Sequence[str]) -> list[str]:
    """Take the gradient from all parameters of some parts.

    A tied matrix is one parameter with several names: frozen under one of them, it is so under all.

    Args:
        model: a `SineformerForConditionalGeneration`.
        parts: names of modules or parameters, with or without `model.` before them, patterns of such names
            (`decoder.layers.*.fc1`), or `embeddings` for all of these.

    Returns:
        The names of parameters that were frozen only because they are tied to one of a part.

    Raises:
        ValueError: a part is not there, or nothing is left to train.
    """
    problems = list(problems_of_parts(model, parts))
    if problems:
        raise ValueError("; ".join(problems))
    frozen = {id(parameter) for name, parameter in _named_parameters(model) if _is_in(name, parts)}
    through_ties = []
    for name, parameter in _named_parameters(model):
        if id(parameter) in frozen:
            parameter.requires_grad_(False)
            if not _is_in(name, parts):
                through_ties.append(name)
    return through_ties


def problems_of_parts(model: nn.Module, parts: Sequence[str]) -> Iterator[str]:
    """What is wrong with parts to freeze, one line each, naming those that there are."""
    named = list(_named_parameters(model))
    for part in parts:
        if not any(_is_in(name, [part]) for name, _ in named):
            yield f"the model has no part {part!r}; it has {', '.join(_parts_of(name for name, _ in named))}"
    frozen = {id(parameter) for name, parameter in named if _is_in(name, parts)}
    if all(id(parameter) in frozen for _, parameter in named):
        yield f"{', '.join(parts)} is all of the model, and nothing is left to train; leave out a part"


def trained_share(model: nn.Module) -> str:
    """How many parameters a model has, and how many of them are trained if not all, in words."""
    sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
    total, trained = sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)
    if trained == total:
        return f"{total:,} parameters"
    return f"{total:,} parameters, {trained:,} of them ({trained / total:.1%}) trained"


def _named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """All parameters by all of their names, as parts call them."""
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield name.removeprefix("model."), parameter


def _is_in(name: str, parts: Iterable[str]) -> bool:
    patterns = (pattern for part in parts for pattern in EMBEDDINGS.get(part, (part.removeprefix("model."),)))
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns)


def _parts_of(names: Iterable[str]) -> list[str]:
    """The parts of a model that come to mind: its stacks, their layers, the embeddings and the head."""
    parts = dict.fromkeys(["embeddings", "encoder", "decoder", "lm_head"])
    layers = dict.fromkeys(".".join(name.split(".")[:3]) for name in names if ".layers." in name)
    return [*parts, *layers, "and what is in them"]
