"""Walk through every step of one translation, as text of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from . import decoder_steps, encoder_steps
from .labels import visible
from .step import COLUMNS, INDENT, Step
from .trace import Trace

SENTENCE = "A boy is trying to catch a ball."
REFERENCE = "Ein Junge versucht, einen Ball zu fangen."


def describe(trace: Trace) -> list[Step]:
    """Return all steps of a translation, in order."""
    return [step(trace) for step in (*encoder_steps.STEPS, *decoder_steps.STEPS)]


def as_text(trace: Trace, steps: Sequence[Step]) -> str:
    """Return the steps as text."""
    head = [trace.text, trace.hypotheses[0].text, letters(trace)]
    lines = [line for text in head for line in (*textwrap.wrap(visible(text), COLUMNS), "")]
    return "\n".join([*lines, *(line for number, step in enumerate(steps, 1) for line in _lines(number, step))])


def letters(trace: Trace) -> str:
    """Return what the letters of the shapes stand for."""
    config = trace.model.config
    return (
        f"Shapes: S = {len(trace.source_ids)} source tokens, T = {len(trace.target_ids)} target tokens, "
        f"D = {config.d_model} features, H = {config.encoder_attention_heads} heads, K = D/H = "
        f"{config.d_model // config.encoder_attention_heads}, F = {config.encoder_ffn_dim}, "
        f"V = {config.target_vocab_size} tokens of the vocabulary."
    )


def _lines(number: int, step: Step) -> Iterator[str]:
    indent = " " * INDENT
    section = f" section {step.section}"
    title = f"{number}. {step.title} "
    yield title + "-" * (COLUMNS - len(title) - len(section)) + section
    yield ""
    yield from (indent + line for line in step.equation.splitlines())
    yield ""
    yield from textwrap.wrap(step.text, COLUMNS, initial_indent=indent, subsequent_indent=indent)
    yield ""
    yield from (indent + line for line in step.numbers)
    yield ""
    yield f"{indent}[{step.code}]"
    yield ""
