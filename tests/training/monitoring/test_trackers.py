"""Test what trackers log, and that errors in them do not stop a run."""

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sineformer.training.evaluation.scores import Example
from sineformer.training.monitoring.trackers import (
    ResilientWandBTracker,
    close_trackers,
    start_trackers,
    track_samples,
    wandb_id,
)
from sineformer.training.preflight import read_settings
from sineformer.training.settings.recipe import RecipeError

SAMPLES = [Example("A <b>dog</b>.", "Ein Hund.", "Ein | Hündchen.")]

needs_wandb = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="wandb is not installed; pip install wandb"
)

# Start the tracker of a run, log, and print the id that a checkpoint would save.
USE_WANDB = """
import sys
from accelerate import Accelerator
from sineformer.training.evaluation.scores import Example
from sineformer.training.preflight import read_settings
from sineformer.training.monitoring.trackers import ResilientWandBTracker, start_trackers, track_samples, wandb_id
folder, earlier, *steps = sys.argv[1:]
flags = ["--dataset", "embedded", "--output_dir", folder, "--max_steps", "1", "--report_to", "wandb", "--resume"]
settings = read_settings(flags)
accelerator = Accelerator(cpu=True)
start_trackers(accelerator, settings, {"step": 3, "log": {"wandb_id": earlier}} if earlier else None)
for step in map(int, steps):
    accelerator.log({"train/loss": step / 2}, step=step)
track_samples(accelerator, "validation", int(steps[-1]), [Example("A <b>dog</b>.", "Ein Hund.", "Ein Hund.")])
print(wandb_id(accelerator))
accelerator.end_training()
"""


def settings_of(folder: Path, *trackers: str) -> Any:
    return read_settings(
        ["--dataset", "embedded", "--output_dir", str(folder), "--max_steps", "1", "--report_to", *trackers]
    )


def events_in(folder: Path) -> EventAccumulator:
    (file,) = folder.joinpath("tensorboard").glob("events.*")
    return EventAccumulator(str(file)).Reload()


def test_tensorboard_gets_numbers_translations_and_settings(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    start_trackers(accelerator, settings_of(tmp_path, "tensorboard"), None)
    accelerator.log({"train/loss": 2.5}, step=4)
    track_samples(accelerator, "validation", 4, SAMPLES)
    assert wandb_id(accelerator) is None
    accelerator.end_training()
    events = events_in(tmp_path)
    (loss,) = events.Scalars("train/loss")
    assert (loss.step, loss.value) == (4, 2.5)
    (text,) = events.Tensors("validation/samples/text_summary")
    assert text.step == 4
    assert r"A \<b>dog\</b>. | Ein Hund. | Ein \| Hündchen." in text.tensor_proto.string_val[0].decode()
    (recipe,) = tmp_path.rglob("hparams.yml")
    assert "learning_rate: 0.0007" in recipe.read_text()


def test_none_starts_no_tracker(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    start_trackers(accelerator, settings_of(tmp_path, "none"), None)
    track_samples(accelerator, "validation", 4, SAMPLES)
    assert accelerator.trackers == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("trackers", "problem"),
    [
        (["mlflow"], "report_to: 'mlflow' is none of tensorboard, wandb or none"),
        (["none", "tensorboard"], "report_to: none is given with tensorboard; remove one"),
    ],
)
def test_an_unknown_tracker_is_a_problem_of_the_settings(tmp_path: Path, trackers: list[str], problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        settings_of(tmp_path, *trackers)
    assert caught.value.problems == [problem]


def test_a_tracker_that_is_not_installed_is_reported_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name))
    with pytest.raises(RecipeError) as caught:
        settings_of(tmp_path, "tensorboard", "wandb")
    assert caught.value.problems == [
        "report_to: wandb is not installed; pip install wandb, or remove it from report_to"
    ]


def test_tensorboard_shows_each_step_of_a_resumed_run_once(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "tensorboard")
    for state, steps in ((None, (1, 2, 3)), ({"step": 2, "log": {}}, (3, 4))):
        accelerator = Accelerator(cpu=True)
        start_trackers(accelerator, settings, state)
        for step in steps:
            accelerator.log({"train/loss": float(len(steps))}, step=step)
        close_trackers(accelerator)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(each.step, each.value) for each in events.Scalars("train/loss")] == [
        (1, 3.0),
        (2, 3.0),
        (3, 2.0),
        (4, 2.0),
    ]


def use_wandb(
    folder: Path, earlier: str, steps: Iterable[int] = (4,), **environment: str
) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    home = {"HOME": str(folder), "NETRC": str(folder / "netrc"), "WANDB_SILENT": "true"}
    command = [sys.executable, "-c", USE_WANDB, str(folder), earlier, *map(str, steps)]
    return subprocess.run(command, capture_output=True, text=True, env=clean | home | environment, timeout=120)


def translations_in(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("wandb/*/files/media/html/validation/*.html"))


@pytest.mark.slow
@needs_wandb
def test_wandb_resumes_the_run_of_the_checkpoint_and_logs_translations(tmp_path: Path) -> None:
    done = use_wandb(tmp_path, "abcd1234", WANDB_MODE="offline")
    assert done.stdout.split() == ["abcd1234"], done.stderr
    assert list(tmp_path.glob("wandb/offline-run-*-abcd1234/run-abcd1234.wandb"))
    assert "A &lt;b&gt;dog&lt;/b&gt;.<br>Ein Hund.<br>Ein Hund." in translations_in(tmp_path)


@pytest.mark.slow
@needs_wandb
@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_INIT_TIMEOUT": "3"},
    ],
    ids=["no key", "no server"],
)
def test_without_a_key_or_a_server_the_run_is_recorded_in_its_folder(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    done = use_wandb(tmp_path, "", **environment)
    assert done.returncode == 0, done.stderr
    assert "warning: Weights & Biases cannot be used" in done.stderr
    assert list(tmp_path.glob(f"wandb/offline-run-*-{done.stdout.strip()}/*.wandb"))


@pytest.fixture
def wandb_server() -> Iterator[str]:
    """Return the address of a server with the API of Weights & Biases."""
    program = Path(__file__).with_name("wandb_server.py")
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


@pytest.mark.slow
@needs_wandb
def test_a_resumed_run_is_resumed_in_wandb(tmp_path: Path, wandb_server: str) -> None:
    place = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": wandb_server, "NO_PROXY": "127.0.0.1"}
    first = use_wandb(tmp_path, "", range(1, 6), **place)
    assert first.returncode == 0, first.stderr
    name = first.stdout.strip()
    place["WANDB_SILENT"] = "false"
    second = use_wandb(tmp_path, name, range(4, 8), **place)  # from the checkpoint after step 3
    assert second.stdout.split()[-1] == name, second.stderr
    assert "cannot be used" not in first.stderr + second.stderr
    assert f"Resuming run {name}" in second.stderr
    assert "WARNING" not in second.stderr
    with urllib.request.urlopen(f"{wandb_server}/runs/{name}") as answer:
        shown = json.load(answer)
    losses = [(line["_step"], line["train/loss"]) for line in shown["history"] if "train/loss" in line]
    assert losses == [(step, step / 2) for step in range(1, 8)]
    assert shown["config"]["learning_rate"]["value"] == 0.0007
    assert any(file.startswith("media/html/validation/samples_7_") for file in shown["files"])


def test_a_later_error_in_wandb_causes_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        starting_step = 0

        def log(self, values: dict[str, Any], step: int | None) -> None:
            raise ConnectionResetError("Connection lost")

    tracker = ResilientWandBTracker("project")
    tracker.run = Broken()
    tracker.log({"train/loss": 1.0}, step=1)
    tracker.log({"train/loss": 1.0}, step=2)
    tracker.finish()
    assert capsys.readouterr().err == (
        "warning: Weights & Biases cannot be used (Connection lost): it logs nothing more of this run; "
        "metrics.jsonl is complete\n"
    )
