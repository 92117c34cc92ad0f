"""Test that the pictures show the weights of the model and the encoding of the paper, and are saved as promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from sineformer.modeling.positional_encoding import sinusoidal_encoding
from sineformer.training.explanation.attention_pictures import Choice, attention_figure, draw_attention
from sineformer.training.explanation.picture_files import save_picture
from sineformer.training.explanation.position_pictures import positions_figure
from sineformer.training.pretrained.inspection import AttentionMap, Inspection, InspectionError, inspect

SOURCE = "a man is riding a horse"


@pytest.fixture
def seen(small_model: Any, small_tokenizers: Any) -> Inspection:
    """Return what a small model computes for a given translation."""
    return inspect(small_model, small_tokenizers, SOURCE, "ein Mann reitet")


def images(figure: Figure) -> list[np.ndarray]:
    """Return the data of all heat maps of a figure."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def labels(figure: Figure) -> tuple[list[str], list[str]]:
    """Return the labels of rows and columns of the first heat map."""
    axes = figure.axes[0]
    return [each.get_text() for each in axes.get_yticklabels()], [each.get_text() for each in axes.get_xticklabels()]


def test_the_alignment_has_the_mean_weights_of_words(seen: Inspection) -> None:
    figure = draw_attention(seen, Choice())
    (image,) = images(figure)
    expected = seen.cross_attention().by_words()
    np.testing.assert_array_equal(image, expected.weights.numpy())
    assert labels(figure) == (expected.queries, expected.keys)
    assert labels(figure)[0] == ["ein", "Mann", "reitet", "</s>"]


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_every_head_is_drawn_token_by_token(seen: Inspection, kind: str) -> None:
    drawn = images(draw_attention(seen, Choice(kind, layer=1, tokens=True)))
    weights = getattr(seen, f"{kind}_weights")[0]
    assert len(drawn) == len(weights) == 2
    for image, expected in zip(drawn, weights, strict=True):
        np.testing.assert_array_equal(image, expected.numpy())


def test_a_word_has_a_row_for_each_head(seen: Inspection) -> None:
    figure = draw_attention(seen, Choice("encoder", word="man"))
    words = seen.encoder_attention(0, 1).by_words()
    np.testing.assert_array_equal(images(figure)[0][1], words.weights[words.queries.index("man")].numpy())
    assert labels(figure) == (["head 1", "head 2"], words.keys)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(layer=2), "there is no layer 2; the model has 1, from 1 to 1"),
        (Choice("cross", word="Katze"), "'Katze' is none of the words that attend: ein, Mann, reitet, </s>"),
    ],
)
def test_a_missing_layer_or_word_is_named(seen: Inspection, choice: Choice, message: str) -> None:
    with pytest.raises(InspectionError, match=message):
        draw_attention(seen, choice)


def test_positions_are_those_of_the_paper_in_both_layouts() -> None:
    figure = positions_figure(16, 20)
    for image, layout in zip(images(figure)[:2], ("interleaved", "halves"), strict=True):
        np.testing.assert_array_equal(image, sinusoidal_encoding(torch.arange(20), 16, layout).numpy())


def test_dot_products_depend_on_the_distance_alone() -> None:
    (axes,) = (each for each in positions_figure(16, 21).axes if each.get_xlabel() == "distance k")
    curves = [dict(zip(*line.get_data(), strict=True)) for line in axes.get_lines()]
    assert len(curves) == 3
    for distance, product in curves[1].items():  # from the position in the middle
        other = curves[0] if distance >= 0 else curves[2]
        assert product == pytest.approx(other[distance], abs=1e-4)


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_same_figure_gives_the_same_file(seen: Inspection, tmp_path: Path, suffix: str, start: bytes) -> None:
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    for path in (first, second):
        save_picture(draw_attention(seen, Choice("decoder")), path)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(start)


@pytest.mark.filterwarnings("error")
def test_an_svg_has_every_script_as_text(tmp_path: Path) -> None:
    attention = AttentionMap([" 我", " $x$"], [" 爱", "\n"], torch.eye(2))
    save_picture(attention_figure("你", attention), tmp_path / "x.svg")
    drawn = (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert all(f">{text}</text>" in drawn for text in ("\N{OPEN BOX}我", "\N{OPEN BOX}爱", "\\n", "你"))


@pytest.mark.parametrize(("name", "message"), [("x.gif", "end it in .png or .svg"), ("no/folder/x.png", "no")])
def test_a_file_that_cannot_be_a_picture_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "no").write_text("a file", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        save_picture(Figure(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["no"]
