"""Recognise embeddings and output projection in a state dict: `[V, D]`, under any name."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .output import ConversionError

Weights = dict[str, torch.Tensor]


class VocabularyNames(NamedTuple):
    """Hold names of modules, such as "src_embedding" for the weight `src_embedding.weight`; None to recognise one.

    Attributes:
        embedding: of the source. target_embedding: of the target. head: the output projection.
    """

    embedding: str | None = None
    target_embedding: str | None = None
    head: str | None = None


class Vocabularies(NamedTuple):
    """Hold source and target embeddings and output projection, each `[V, D]`, and its bias `[V]` or None."""

    source: torch.Tensor
    target: torch.Tensor
    head: torch.Tensor
    bias: torch.Tensor | None


def take_vocabularies(state: Weights, d_model: int, names: VocabularyNames) -> Vocabularies:
    """Remove the weights of the vocabularies from `state`, which no longer contains the stacks, and return them.

    The matrix with a bias is the output projection; another with the same number of rows is the target embedding; the
    remaining one is the source embedding. Equal matrices count once: they are tied.

    Raises:
        ConversionError: a named module is missing, or these rules are ambiguous.
    """
    matrices = {
        name.removesuffix(".weight"): weight
        for name, weight in state.items()
        if name.endswith(".weight") and weight.ndim == 2 and weight.shape[1] == d_model
    }
    # A file that stores tied weights once may contain only the bias of the output projection.
    biased = {
        name.removesuffix(".bias"): bias
        for name, bias in state.items()
        if name.endswith(".bias") and (name.removesuffix("bias") + "weight" not in state or name[:-5] in matrices)
    }
    head = _choose("head", names.head, list(biased) or _distinct(matrices), [*matrices, *biased])
    bias = biased.get(head)
    rest = _distinct({name: weight for name, weight in matrices.items() if name != head} or matrices)
    rows = len(matrices[head] if bias is None else bias)
    fitting = [name for name in rest if len(matrices[name]) == rows]
    target_candidates = [name for name in fitting if name != _module(names.embedding)] or fitting
    target = _choose("target_embedding", names.target_embedding, target_candidates, list(matrices))
    source_candidates = [name for name in rest if name != target] or [target]
    source = _choose("embedding", names.embedding, source_candidates, list(matrices))
    found = Vocabularies(matrices[source], matrices[target], matrices.get(head, matrices[target]), bias)
    for name, weight in matrices.items():
        if any(torch.equal(weight, each) for each in found[:3]):
            del state[f"{name}.weight"]
    if bias is not None:
        del state[f"{head}.bias"]
    return found


def _distinct(matrices: Weights) -> list[str]:
    """Return the first name of each distinct matrix."""
    names: list[str] = []
    for name, weight in matrices.items():
        if not any(torch.equal(weight, matrices[other]) for other in names):
            names.append(name)
    return names


def _module(name: str | None) -> str | None:
    return None if name is None else name.removesuffix(".weight")


def _choose(role: str, given: str | None, candidates: list[str], existing: list[str]) -> str:
    """Return the module that was given for `role`, or the only candidate."""
    name = _module(given)
    if name is not None and name not in existing:
        raise ConversionError(f"`{role}` is {given}, but the modules of the width of the model are {_listed(existing)}")
    if name is None and len(candidates) != 1:
        raise ConversionError(f"cannot tell which is the `{role}`: name it, one of {_listed(candidates or existing)}")
    return candidates[0] if name is None else name


def _listed(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "no weights"
