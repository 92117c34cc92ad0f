"""Build the tab of the page that translates a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ..data.readers.compressed import COMPRESSIONS
from ..pretrained.translator import TranslationError
from .page_model import PageModel
from .sentence_tab import MOST_BEAMS, beams_of
from .views import message, progress

FILES_AT_ONCE = 4
LABEL = f"Text, UTF-8, one sentence per line, plain or compressed ({', '.join(COMPRESSIONS)})"


def add_file_tab(default: PageModel, own: gr.State) -> None:
    """Add the components of the tab and connect them.

    Args:
        default: the model of visitors who have not loaded another one.
        own: the model that a visitor has loaded, or None.
    """
    source = gr.File(label=LABEL, elem_id="sf-source-file")
    with gr.Row(equal_height=True):
        beams = gr.Slider(1, MOST_BEAMS, beams_of(default), step=1, label="Beams")
        button = gr.Button("Translate the file", variant="primary", elem_id="sf-translate-file")
    said = gr.HTML(js_on_load=None, apply_default_css=False, elem_id="sf-file-message")
    result = gr.File(label="Translations, one per line", interactive=False, visible=False, elem_id="sf-result-file")

    def translate(model: PageModel | None, path: str | None, num_beams: int) -> Iterator[tuple[str, Any]]:
        no_result = gr.update(value=None, visible=False)
        if path is None:
            yield message("Choose a file first.", is_problem=True), no_result
            return
        name = Path(path).name
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / f"translated-{name}"
            try:
                for done, total in (model or default).translate_file(Path(path), output, num_beams):
                    yield progress(done, total), no_result
            except TranslationError as error:
                yield message(str(error).replace(path, name), is_problem=True), no_result
            else:
                # Gradio copies the file before it resumes here.
                yield message(f"{name} is translated."), gr.update(value=str(output), visible=True)

    button.click(
        translate,
        [own, source, beams],
        [said, result],
        show_progress="hidden",
        concurrency_limit=FILES_AT_ONCE,
        api_visibility="private",
    )
