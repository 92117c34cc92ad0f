"""Freeze modules of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn

# A short name for all embeddings that the model has.
EMBEDDINGS = {"embeddings": ("shared", "encoder.embed_tokens", "decoder.embed_tokens")}


def freeze(model: nn.Module, parts: Sequence[str]) -> list[str]:
    """Freeze all parameters of some modules.

    A tied matrix is one parameter with several names: frozen under one of them, it is frozen under all.

    Args:
        model: a `SineformerForConditionalGeneration`.
        parts: names of modules or parameters, with or without the prefix `model.`, patterns of such names
            (`decoder.layers.*.fc1`), or `embeddings` for all embeddings.

    Returns:
        The names of parameters that were frozen only because they are tied to a parameter of `parts`.

    Raises:
        ValueError: a name is unknown, or nothing is left to train.
    """
    problems = list(freeze_problems(model, parts))
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


def freeze_problems(model: nn.Module, parts: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the names of modules to freeze, one line each, with the names to choose from."""
    named = list(_named_parameters(model))
    for part in parts:
        if not any(_is_in(name, [part]) for name, _ in named):
            yield f"the model has no part {part!r}; it has {', '.join(_suggestions(name for name, _ in named))}"
    frozen = {id(parameter) for name, parameter in named if _is_in(name, parts)}
    if all(id(parameter) in frozen for _, parameter in named):
        yield f"{', '.join(parts)} is the complete model, and nothing is left to train; remove a name"


def parameter_summary(model: nn.Module) -> str:
    """Return the number of parameters of a model, and of those trained if not all, in words."""
    sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
    total, trained = sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)
    if trained == total:
        return f"{total:,} parameters"
    return f"{total:,} parameters, {trained:,} of them ({trained / total:.1%}) trained"


def _named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield all parameters by all of their names, without the prefix `model.`."""
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield name.removeprefix("model."), parameter


def _is_in(name: str, parts: Iterable[str]) -> bool:
    patterns = (pattern for part in parts for pattern in EMBEDDINGS.get(part, (part.removeprefix("model."),)))
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns)


def _suggestions(names: Iterable[str]) -> list[str]:
    """Return names to suggest in an error: embeddings, stacks, layers and the head."""
    parts = dict.fromkeys(["embeddings", "encoder", "decoder", "lm_head"])
    layers = dict.fromkeys(".".join(name.split(".")[:3]) for name in names if ".layers." in name)
    return [*parts, *layers, "and their submodules"]
