"""Write the walk-through as a page of Markdown, with pictures beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..system.files import file_problem, write_file
from .attention_pictures import Choice, draw_attention
from .picture_files import picture_problem, save_picture
from .position_pictures import positions_figure
from .step import Step
from .trace import Trace
from .walkthrough import letters

POSITIONS = 60  # drawn of the encoding
PICTURES: dict[str, Callable[[Trace], Figure]] = {
    "positions": lambda trace: positions_figure(trace.model.config.d_model, POSITIONS),
    "heads": lambda trace: draw_attention(trace.inspection, Choice("encoder", layer=1)),
    "causal": lambda trace: draw_attention(trace.inspection, Choice("decoder", layer=1)),
    "alignment": lambda trace: draw_attention(trace.inspection, Choice()),
}


def picture_path(page: Path, name: str) -> Path:
    """Return the file of a picture of a page."""
    return page.with_name(f"{page.stem}-{name}.svg")


def page_problem(page: Path) -> str | None:
    """Return why the page or one of its pictures cannot be written, with the fix; None if they can."""
    problems = (file_problem(page), *(picture_problem(picture_path(page, name)) for name in PICTURES))
    return next(filter(None, problems), None)


def write_page(page: Path, trace: Trace, steps: Sequence[Step]) -> None:
    """Write the pictures, then the page."""
    for name, draw in PICTURES.items():
        save_picture(draw(trace), picture_path(page, name))
    lines = [f"# {trace.text}", "", f"*{trace.hypotheses[0].text}*", "", letters(trace), ""]
    for number, step in enumerate(steps, 1):
        lines += _lines(page, number, step)
    write_file(page, "\n".join(lines))


def _lines(page: Path, number: int, step: Step) -> Iterator[str]:
    yield from (f"## {number}. {step.title}", "", f"Section {step.section}, `{step.code}`", "")
    yield from ("```text", step.equation, "```", "", step.text.replace("<", "&lt;"), "")
    yield from ("```text", *step.numbers, "```", "")
    if step.picture is not None:
        yield from (f"![{step.title}]({picture_path(page, step.picture).name})", "")
