"""Build the page and serve it. Nothing on it is loaded from elsewhere, and nothing is reported to anyone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ..pretrained.translator import TranslationError
from .file_tab import add_file_tab
from .page_model import PageModel
from .sentence_tab import SentenceTab
from .views import message

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # also for the parts of Gradio that `Blocks` does not tell
STYLE = Path(__file__).parent / "page.css"
SECONDS_OF_FILES = 3600  # that visitors uploaded or may download
INTRODUCTION = "# Sineformer\nTranslate with the Transformer of *Attention Is All You Need*, and look into it."


def make_page(model: PageModel, may_load: bool = True) -> gr.Blocks:
    """Return the page.

    Args:
        model: that it begins with.
        may_load: whether visitors may load other models, from folders of this machine and from the Hub.
    """
    files = (SECONDS_OF_FILES, SECONDS_OF_FILES)
    with gr.Blocks(analytics_enabled=False, title="Sineformer", delete_cache=files) as page:
        gr.Markdown(INTRODUCTION)
        described = gr.HTML(message(model.describe()), js_on_load=None, apply_default_css=False, elem_id="sf-model")
        own = gr.State(None)
        with gr.Tab("Sentence"):
            sentences = SentenceTab(model, own)
        with gr.Tab("File"):
            add_file_tab(model, own)
        if may_load:
            _add_model_field(sentences, own, described)
    return page


def _add_model_field(sentences: SentenceTab, own: gr.State, described: gr.HTML) -> None:
    with gr.Accordion("Another model", open=False), gr.Row(equal_height=True):
        name = gr.Textbox(label="Folder of a Sineformer, or its id on the Hub", scale=4, elem_id="sf-model-name")
        button = gr.Button("Load", elem_id="sf-load")

    def load(text: str) -> dict[Any, Any]:
        try:
            model = PageModel(os.path.expanduser(text))
        except TranslationError as error:
            return {described: message(f"{error}. The model before it is still in use.", is_problem=True)}
        return {described: message(model.describe()), own: model, **sentences.clear(model)}

    controls = sentences.controls
    outputs = [described, own, *sentences.views, controls.shown, controls.hypotheses, controls.beams]
    outputs += [controls.kind, controls.layer, controls.head]
    gr.on([name.submit, button.click], load, name, outputs, show_progress_on=described, api_visibility="private")


def launch_options() -> dict[str, Any]:
    """Return how the page is launched everywhere: in its style, without links and records of Gradio."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    records: dict[str, Any] = {"footer_links": [], "run_history": False, "enable_monitoring": False}
    return {"theme": theme, "css_paths": STYLE, "ssr_mode": False, "max_file_size": "50mb", **records}


@contextlib.contextmanager
def serving(page: gr.Blocks, host: str, port: int | None) -> Iterator[str]:
    """Serve the page in this context; yield its address.

    Args:
        page: from `make_page`.
        host: address to listen at, 127.0.0.1 for this machine only.
        port: None for the first free one from 7860 on.

    Raises:
        TranslationError: the port or the address is not free.
    """
    try:
        _, address, _ = page.launch(
            server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, share=False, **launch_options()
        )
    except OSError as error:
        raise TranslationError(f"the page cannot be served at {host}, port {port}: {error}; choose another") from error
    try:
        yield address
    finally:
        page.close(verbose=False)
