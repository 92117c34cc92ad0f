"""Build the tab of the page that translates a sentence and shows attention, tokens and positions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from .page_model import PageModel
from .translated import (
    MEAN,
    TITLES,
    Choice,
    Translated,
    choose_hypothesis,
    layers_and_heads,
    show_attention,
    show_tokens,
    translate,
)

SCRIPT = (Path(__file__).parent / "heat_map.js").read_text(encoding="utf-8")
MOST_BEAMS = 12
# The views change at once; nothing here is offered as an API.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
SECONDS_OF_A_VISIT = 3600  # without a translation; then what the visitor translated is forgotten
KINDS = dict(
    zip(("Translation to source (alignment)", "Source to source", "Translation to itself"), TITLES, strict=True)
)
SCORES = "All beams, best first, with log-probability / length ** length_penalty: choose the one to look into"


class Controls(NamedTuple):
    """Hold what a visitor chooses on this tab, and what they have translated."""

    text: gr.Textbox
    beams: gr.Slider
    button: gr.Button
    hypotheses: gr.Radio
    kind: gr.Radio
    layer: gr.Dropdown
    head: gr.Dropdown
    words: gr.Checkbox
    shown: gr.State


class Views(NamedTuple):
    """Hold what this tab shows of a translation."""

    message: gr.HTML
    translation: gr.Textbox
    attention: gr.HTML
    tokens: gr.HTML
    positions: gr.HTML


class SentenceTab:
    """The tab of sentences.

    Args:
        default: the model of visitors who have not loaded another one.
        own: the model that a visitor has loaded, or None.
    """

    def __init__(self, default: PageModel, own: gr.State):
        self.default, self.own = default, own
        self.controls, self.views = self._lay_out()
        self._connect()

    def _lay_out(self) -> tuple[Controls, Views]:
        placeholder = "A man is riding a horse."
        with gr.Row(equal_height=True):
            text = gr.Textbox(label="Sentence", placeholder=placeholder, elem_id="sf-sentence", scale=4, min_width=280)
            button = gr.Button("Translate", variant="primary", elem_id="sf-translate", min_width=120)
        beams = gr.Slider(1, MOST_BEAMS, beams_of(self.default), step=1, label="Beams", elem_id="sf-beams")
        message = gr.HTML(js_on_load=None, apply_default_css=False, elem_id="sf-message")
        translation = gr.Textbox(label="Translation", interactive=False, elem_id="sf-translation", buttons=["copy"])
        hypotheses = gr.Radio([], label=SCORES, visible=False, elem_id="sf-hypotheses")
        with gr.Tab("Attention"):
            kind = gr.Radio(list(KINDS.items()), value="cross", label="From what to what", elem_id="sf-kind")
            with gr.Row():
                layer = gr.Dropdown(**choices_of(self.default, "cross")["layer"], label="Layer", min_width=130)
                head = gr.Dropdown(**choices_of(self.default, "cross")["head"], label="Head", min_width=130)
            words = gr.Checkbox(True, label="Join tokens into words")
            attention = gr.HTML(js_on_load=SCRIPT, apply_default_css=False, elem_id="sf-attention")
        with gr.Tab("Tokens"):
            tokens = gr.HTML(js_on_load=None, apply_default_css=False, elem_id="sf-tokens")
        with gr.Tab("Positions"):
            positions = gr.HTML(js_on_load=None, apply_default_css=False, elem_id="sf-positions")
        shown = gr.State(None, time_to_live=SECONDS_OF_A_VISIT)
        controls = Controls(text, beams, button, hypotheses, kind, layer, head, words, shown)
        return controls, Views(message, translation, attention, tokens, positions)

    def _connect(self) -> None:
        controls, views = self.controls, self.views
        chosen = [controls.shown, controls.kind, controls.layer, controls.head, controls.words]
        pictures = [views.attention, views.tokens, views.positions]
        translated = gr.on(
            [controls.text.submit, controls.button.click],
            self._translate,
            [self.own, controls.text, controls.beams],
            [views.message, views.translation, controls.shown],
            **QUIET,
        )
        translated.success(show_all, chosen, [controls.hypotheses, *pictures], **QUIET)
        of_other = [controls.shown, *pictures, views.translation]
        controls.hypotheses.input(choose, [controls.hypotheses, *chosen], of_other, **QUIET)
        lists = [controls.layer, controls.head]
        listed = controls.kind.input(self._list_layers, [self.own, controls.kind, *lists], lists, **QUIET)
        listed.success(show_chosen, chosen, views.attention, **QUIET)
        selected = [controls.layer.input, controls.head.input, controls.words.input]
        gr.on(selected, show_chosen, chosen, views.attention, trigger_mode="always_last", **QUIET)

    def _translate(
        self, own: PageModel | None, text: str, num_beams: int
    ) -> Iterator[tuple[str, str, Translated | None]]:
        yield from translate(own or self.default, text, num_beams)

    def _list_layers(self, own: PageModel | None, kind: str, layer: int, head: int) -> tuple[Any, Any]:
        lists = choices_of(own or self.default, kind, layer, head)
        return gr.Dropdown(**lists["layer"]), gr.Dropdown(**lists["head"])

    def clear(self, model: PageModel) -> dict[Any, Any]:
        """Return the changes of the tab for another model: nothing translated, its beams, its layers and heads."""
        lists = choices_of(model, "cross")
        return {
            **dict.fromkeys(self.views, ""),
            self.controls.shown: None,
            self.controls.hypotheses: gr.Radio([], value=None, visible=False),
            self.controls.beams: beams_of(model),
            self.controls.kind: "cross",
            self.controls.layer: gr.Dropdown(**lists["layer"]),
            self.controls.head: gr.Dropdown(**lists["head"]),
        }


def beams_of(model: PageModel) -> int:
    """Return the number of beams that the page offers at first."""
    return min(model.num_beams, MOST_BEAMS)


def choices_of(model: PageModel, kind: str, layer: int = MEAN, head: int = MEAN) -> dict[str, dict[str, Any]]:
    """Return the lists of layers and heads, with what is chosen in them; the mean where the model has no such one."""
    counts = dict(zip(("layer", "head"), layers_and_heads(model, kind), strict=True))
    chosen = {"layer": layer, "head": head}
    return {
        name: {
            "choices": [("mean", MEAN), *((str(index), index) for index in range(1, count + 1))],
            "value": chosen[name] if chosen[name] <= count else MEAN,
        }
        for name, count in counts.items()
    }


def show_all(shown: Translated | None, *chosen: Any) -> tuple[Any, str, str, str]:
    """Return the list of hypotheses, and all views of the best."""
    found = shown.hypotheses if shown else []
    choices = [(f"{each.text or '(nothing)'}  ({each.score:.3f})", rank) for rank, each in enumerate(found)]
    radio = gr.Radio(choices, value=0 if found else None, visible=bool(found))
    return radio, show_attention(shown, Choice(*chosen)), *show_tokens(shown)


def choose(rank: int | None, shown: Translated | None, *chosen: Any) -> tuple[Translated | None, str, str, str, str]:
    """Return another hypothesis of the same sentence, all views of it, and its text."""
    shown = choose_hypothesis(shown, rank)
    text = shown.hypotheses[rank].text if shown and rank is not None else ""
    return shown, show_attention(shown, Choice(*chosen)), *show_tokens(shown), text


def show_chosen(shown: Translated | None, *chosen: Any) -> str:
    """Return the chosen attention of what is translated."""
    return show_attention(shown, Choice(*chosen))
