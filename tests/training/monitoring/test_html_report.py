"""Test the report of a run, from valid and from damaged logs."""

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sineformer.training.monitoring.html_report import page, panels_of, write_run_report
from sineformer.training.monitoring.metrics_file import ReportError, read_run
from sineformer.training.monitoring.plots import Curve, Panel, png, svg

VOID = {"meta", "img"}
SVG = "{http://www.w3.org/2000/svg}"


def train_line(step: int, **values: Any) -> dict[str, Any]:
    usual = {"loss": 9 / step, "learning_rate": 1e-3, "gradient_norm": 0.5, "tokens_per_second": 900.0}
    return {"kind": "train", "step": step, "seconds": 60.0, **usual, "padding_share": 0.125, "epoch": 0.5, **values}


def evaluation_line(step: int, translation: str = "Hallo.", kind: str = "validation", **values: Any) -> dict[str, Any]:
    scores = {"loss": 1.0, "bleu": float(step), "chrf": 40.0, "exact_match": 2.0, "sentences": 9, "num_beams": 1}
    signatures = {"bleu_signature": "nrefs:1|a", "chrf_signature": "nrefs:1|b"}
    sample = {"source": "Hello.", "reference": "Grüß Gott.", "translation": translation}
    return {"kind": kind, "step": step, **scores, **signatures, "perplexity": 2.72, "samples": [sample], **values}


def write_log(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a log and returns the page of its report without plots, which are slow."""

    def make(*lines: dict[str, Any]) -> str:
        write_log(tmp_path, list(lines))
        return page(read_run(tmp_path), [])

    return make


class Outline(HTMLParser):
    """Check that tags close in order; collect images, and the text of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.cells: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data


def labels_of(picture: str) -> set[str]:
    """Return the labels of an SVG document."""
    return {"".join(text.itertext()).strip() for text in ElementTree.fromstring(picture).iter(f"{SVG}text")}


def test_a_report_is_one_page_with_every_plot_and_one_png(tmp_path: Path) -> None:
    write_log(tmp_path, [train_line(50), evaluation_line(50), train_line(100), evaluation_line(100)])
    assert write_run_report(tmp_path) == tmp_path / "report.html"
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    images = Outline(text).images
    pictures = [base64.b64decode(str(image["src"]).partition("base64,")[2]).decode() for image in images]
    titles = {"Loss", "Validation scores", "Learning rate", "Gradient norm", "Speed", "Padding"}
    units = {"nats per target token", "score, 0 to 100", "learning rate", "norm before clipping"}
    units |= {"target tokens per second", "% of source and target positions"}
    assert titles | units | {"optimiser steps"} <= set().union(*map(labels_of, pictures))
    assert all(str(image["alt"]).split(":")[0] in titles for image in images)
    assert not re.search(r"(src|href)=.(?!data:)", text), "the page is self-contained"
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "report.html", "report.png"}


def test_the_curves_are_the_numbers_of_the_log(tmp_path: Path) -> None:
    write_log(tmp_path, [train_line(50), train_line(100, padding_share=0.25), evaluation_line(100, bleu=7.5)])
    (tmp_path / "training_args.yaml").write_text(yaml.safe_dump({"label_smoothing": 0.1}))
    curves = {(panel.title, each.name): each for panel in panels_of(read_run(tmp_path)) for each in panel.curves}
    assert curves["Loss", "training, label smoothing 0.1"].values.tolist() == [0.18, 0.09]
    assert curves["Padding", "train"].values.tolist() == [12.5, 25.0]
    assert curves["Padding", "train"].steps.tolist() == [50, 100]
    assert curves["Validation scores", "BLEU"].values.tolist() == [7.5]


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.0}])
def test_a_loss_without_smoothing_has_a_plain_label(tmp_path: Path, settings: dict[str, float]) -> None:
    write_log(tmp_path, [train_line(50)])
    (tmp_path / "training_args.yaml").write_text(yaml.safe_dump(settings))
    assert [curve.name for curve in panels_of(read_run(tmp_path))[0].curves] == ["training", "validation"]


def test_a_step_without_a_number_leaves_no_point(tmp_path: Path) -> None:
    line = train_line(50)
    del line["gradient_norm"]
    write_log(tmp_path, [line, train_line(100)])
    curves = {panel.title: panel.curves[0].steps.tolist() for panel in panels_of(read_run(tmp_path))}
    assert (curves["Loss"], curves["Gradient norm"]) == ([50, 100], [100])


def test_markup_in_sentences_is_escaped(page_of: Callable[..., str]) -> None:
    evil = "<script>alert('&amp;')</script> \u2028 \u0634\u0643\u0631\u0627 \u4f60\u597d " + "x" * 5_000
    text = page_of(evaluation_line(10, evil))
    assert "<script" not in text
    assert evil in Outline(text).cells
    assert '<span dir="auto"' in text


def test_markup_in_the_name_of_a_folder_is_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "<b>a&b"
    folder.mkdir()
    write_log(folder, [])
    text = page(read_run(folder), [])
    assert "<h1>&lt;b&gt;a&amp;b</h1>" in text
    assert "<b>" not in text


def test_sentences_name_their_languages(tmp_path: Path) -> None:
    write_log(tmp_path, [evaluation_line(10)])
    languages = {"source_language": "en", "target_language": "de"}
    (tmp_path / "training_args.yaml").write_text(yaml.safe_dump(languages))
    text = page(read_run(tmp_path), [])
    for language, sentence in (("en", "Hello."), ("de", "Grüß Gott."), ("de", "Hallo.")):
        assert f'lang="{language}">{sentence}</span>' in text


def test_each_sentence_is_shown_at_steps_from_the_first_to_the_last(page_of: Callable[..., str]) -> None:
    lines = [evaluation_line(step, f"T{step}", bleu=99.0 if step == 13 else 1.0) for step in range(1, 41)]
    text = page_of(*lines)
    assert "<p>13 of 40 evaluations.</p>" in text
    assert "evaluations.</p>" not in page_of(*lines[:3])
    cells = Outline(text).cells
    steps = [cell for cell in cells if cell.startswith("step ")]
    assert (steps[0], steps[-1]) == ("step 1", "step 40")
    assert len(steps) == 13
    assert cells[cells.index("step 13 (best)") + 1] == "T13"
    assert cells[cells.index("source") + 1] == "Hello."


def test_scores_are_those_of_the_best_and_of_the_last_model(page_of: Callable[..., str]) -> None:
    text = page_of(evaluation_line(10, bleu=30.0), evaluation_line(20, bleu=20.0), evaluation_line(10, kind="test"))
    cells = Outline(text).cells
    rows = {name: cells[cells.index(name) + 1 : cells.index(name) + 5] for name in cells if name.endswith(" model")}
    assert rows == {
        "validation, best model": ["10", "9", "1", "30.00"],
        "validation, last model": ["20", "9", "1", "20.00"],
        "test, best model": ["10", "9", "1", "10.00"],
    }
    assert "nrefs:1|a" in text


def test_the_scores_of_the_base_model_come_first_and_start_the_curve(tmp_path: Path) -> None:
    base = evaluation_line(0, kind="validation_base", bleu=50.0)
    write_log(tmp_path, [base, evaluation_line(10, bleu=30.0)])
    run = read_run(tmp_path)
    cells = Outline(page(run, [])).cells
    assert [name for name in cells if name.endswith(" model")] == ["validation, base model", "validation, best model"]
    assert panels_of(run)[1].curves[0].values.tolist() == [50.0, 30.0]


def test_settings_that_are_not_the_defaults_come_first(tmp_path: Path) -> None:
    write_log(tmp_path, [])
    (tmp_path / "training_args.yaml").write_text(yaml.safe_dump({"seed": 1, "d_model": 64, "train_files": ["a", "b"]}))
    shown, folded = page(read_run(tmp_path), []).split("<details>")
    assert Outline(shown.split("<h2>Settings</h2>")[1]).cells == ["d_model", "64", "train_files", "a b"]
    assert "<td>seed</td><td>1</td>" in folded


def test_incidents_are_counted_and_named(page_of: Callable[..., str]) -> None:
    skipped = [{"kind": "skipped", "step": step, "examples": ["a.txt:1"]} for step in range(1, 31)]
    text = page_of(*skipped)
    assert "<h2>Skipped: 30</h2>" in text
    assert text.count("a.txt:1") == 20
    assert Outline(text).cells[0:40:2] == [str(step) for step in range(11, 31)], "the last ones are shown"


def test_an_incident_with_thousands_of_examples_is_truncated(page_of: Callable[..., str]) -> None:
    text = page_of({"kind": "skipped", "step": 1, "examples": [f"a.txt:{line}" for line in range(5_000)]})
    assert 'a.txt:1"' in unescape(text)
    assert 'a.txt:100"' not in unescape(text)
    assert " ...</td>" in text


def test_the_report_says_whether_the_run_has_finished(tmp_path: Path) -> None:
    write_log(tmp_path, [train_line(1_000)])
    assert "Finished, 1,000 steps, 0.50 epochs, 1.0 minutes." in page(read_run(tmp_path), [])
    (tmp_path / "checkpoints").mkdir()
    assert "Not finished, 1,000 steps" in page(read_run(tmp_path), [])
    write_log(tmp_path, [train_line(1_000), evaluation_line(400, kind="test")])
    assert "Not finished, 1,000 steps" in page(read_run(tmp_path), []), (
        "the test is of the best model, not the last one"
    )


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    write_log(tmp_path, [train_line(1)])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    assert [line["step"] for line in read_run(tmp_path).lines] == [1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "metrics.jsonl is missing; give the output folder of a run"),
        ('{"kind": "train", "step": 1}\n{"kind":\n', "metrics.jsonl:2: not valid JSON"),
        ("[1]\n", "metrics.jsonl:1: a line of a log has a kind"),
        ('{"kind": "train"}\n', "metrics.jsonl:1: a line of a log has a kind"),
        ("\udcff\n", "cannot be read: 'utf-8' codec"),
    ],
)
def test_a_missing_or_damaged_log_is_an_error_that_names_the_line(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ReportError, match=re.escape(message)):
        write_run_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_full_disk_is_an_error_and_leaves_the_older_report(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    write_log(tmp_path, [train_line(1)])
    (tmp_path / "report.png").write_text("before")
    request.getfixturevalue("small_files_only")
    with pytest.raises(ReportError, match="cannot write the report of"):
        write_run_report(tmp_path)
    assert (tmp_path / "report.png").read_text() == "before"


def test_a_report_that_cannot_be_written_is_refused_before_any_file_is_written(tmp_path: Path) -> None:
    write_log(tmp_path, [train_line(1)])
    (tmp_path / "report.png").write_text("before")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ReportError, match=r"report\.html is a folder"):
        write_run_report(tmp_path)
    assert (tmp_path / "report.png").read_text() == "before"


def curve(*values: float) -> Curve:
    return Curve("c", np.arange(1.0, 1 + len(values)), np.array(values))


def test_a_single_point_has_a_marker_and_a_gap_is_kept() -> None:
    assert svg(Panel("t", "u", [curve(2.0)])).count("<use ") > svg(Panel("t", "u", [])).count("<use ")
    picture = svg(Panel("t", "u", [curve(1, 2, float("nan"), 4, 5)]))
    path = re.search(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: #0072b2', picture)
    assert path
    assert path[1].count("M") == 2


@pytest.mark.parametrize("values", [(), (float("nan"),), (0.0, -1.0, float("inf"))])
def test_a_plot_without_values_says_so(values: tuple[float, ...]) -> None:
    assert "nothing was recorded" in labels_of(svg(Panel("t", "u", [curve(*values)], logarithmic=True)))


@pytest.mark.parametrize("highest", [0.5, 0.6, 4.0, 3e3, 5e6])
def test_a_logarithmic_scale_has_several_labels_for_any_range(highest: float) -> None:
    labels = labels_of(svg(Panel("t", "u", [curve(0.4, highest)], logarithmic=True)))
    assert len([label for label in labels if re.fullmatch(r"[\d.,e+-]+", label)]) >= 4


def test_a_plot_of_thousands_of_points_is_small_and_keeps_the_extremes() -> None:
    values = np.ones(50_000)
    values[31_234] = 77.0
    values[10_000:20_000] = np.nan
    picture = svg(Panel("t", "u", [Curve("c", np.arange(50_000.0), values)]))
    assert len(picture) < 100_000
    assert "60" in labels_of(picture), "the scale includes the outlier"
    path = re.search(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: #0072b2', picture)
    assert path
    assert path[1].count("M") == 2, "the gap is kept"


def test_identical_numbers_give_identical_files() -> None:
    panels = [Panel("t", "u", [curve(1, 2)])]
    assert svg(panels[0]) == svg(panels[0])
    assert png(panels) == png(panels)


@pytest.mark.parametrize("bleu", [10.0, 30.0])
def test_the_mean_of_models_is_shown_if_it_is_the_best(page_of: Callable[..., str], bleu: float) -> None:
    mean = evaluation_line(20, kind="validation_mean", bleu=bleu)
    cells = Outline(page_of(evaluation_line(10, bleu=15.0), evaluation_line(20, bleu=20.0), mean)).cells
    names = {name for name in cells if name.startswith("validation")}
    last = "validation, last model"
    assert names == ({"validation, mean of the last models", last} if bleu > 20 else {"validation, best model"})
    assert ("30.00" in cells) == (bleu > 20)


@pytest.mark.parametrize(("metric", "best"), [("bleu", 20), ("chrf", 10), ("loss", 30)])
def test_the_best_model_is_chosen_by_the_metric_of_the_recipe(tmp_path: Path, metric: str, best: int) -> None:
    (tmp_path / "training_args.yaml").write_text(f"best_metric: {metric}\n")
    scores = [(10, 1.0, 60.0, 3.0), (20, 9.0, 50.0, 2.0), (30, 5.0, 40.0, 1.0)]
    write_log(tmp_path, [evaluation_line(step, bleu=bleu, chrf=chrf, loss=loss) for step, bleu, chrf, loss in scores])
    found = read_run(tmp_path).best
    assert found is not None
    assert found["step"] == best


@pytest.mark.parametrize("value", ["<script>alert(1)</script>", True, None, [1.0]])
@pytest.mark.parametrize("key", ["num_beams", "bleu", "perplexity", "loss"])
def test_a_value_that_is_not_a_number_is_an_error_that_names_the_line(tmp_path: Path, key: str, value: Any) -> None:
    write_log(tmp_path, [train_line(1), evaluation_line(1, **{key: value})])
    with pytest.raises(ReportError, match=rf"metrics.jsonl:2: {key} is not a number but "):
        read_run(tmp_path)


def test_a_norm_that_is_not_finite_can_be_read(tmp_path: Path) -> None:
    write_log(tmp_path, [train_line(1, gradient_norm="inf"), train_line(2)])
    assert write_run_report(tmp_path).is_file()


def test_folders_of_the_machine_are_not_shown(tmp_path: Path) -> None:
    write_log(tmp_path, [{"kind": "skipped", "step": 1, "loss": "inf", "examples": ["/somewhere/a.txt:7"]}])
    keys = ("output_dir", "data_dir", "cache_dir", "model_name_or_path")
    settings = {**dict.fromkeys(keys, "/somewhere/there"), "train_files": ["/somewhere/a.en", "b/a.de"]}
    (tmp_path / "training_args.yaml").write_text(yaml.safe_dump(settings))
    text = page(read_run(tmp_path), [])
    assert "/somewhere" not in text
    assert "a.txt:7" in text
    assert "<td>a.en b/a.de</td>" in text
