"""Test resuming a run that a signal stopped, with valid and invalid settings; in this process."""

import json
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from sineformer.training.checkpoints.resume import choose_checkpoint
from sineformer.training.monitoring.run_log import RunLog
from sineformer.training.preflight import read_settings
from sineformer.training.run import report
from sineformer.training.system.files import damage_of, remove_folder, write_manifest
from sineformer.training.system.signals import STOPPED
from sineformer.training.train import main

SETTINGS = {
    **{"train_size": "300", "validation_size": "6", "test_size": "5", "vocab_size": "400", "d_model": "16"},
    **{"encoder_layers": "1", "decoder_layers": "1", "encoder_attention_heads": "2", "decoder_attention_heads": "2"},
    **{"encoder_ffn_dim": "16", "decoder_ffn_dim": "16", "max_position_embeddings": "32", "max_length": "32"},
    **{"max_tokens": "200", "gradient_accumulation_steps": "2", "warmup_steps": "4", "max_steps": "9"},
    **{"eval_steps": "3", "best_metric": "loss", "logging_steps": "2", "save_steps": "2", "num_beams": "1"},
    **{"dataset": "embedded", "use_cpu": "true", "report_to": "none", "max_unusable_share": "0.6"},
}


def train(folder: Path, *flags: str) -> int:
    """Train with `SETTINGS`, overridden by `flags`."""
    given = {flag.removeprefix("--") for flag in flags}
    kept = [word for key, value in SETTINGS.items() if key not in given for word in (f"--{key}", value)]
    return main([*kept, "--output_dir", str(folder), *flags])


def run_and_stop_at(folder: Path, step: int, *flags: str) -> int:
    """Send SIGTERM to this process in the middle of a step."""
    log_step = RunLog.step

    def step_with_signal(self: RunLog, number: int, *rest: Any) -> None:
        if number == step:
            signal.raise_signal(signal.SIGTERM)
        log_step(self, number, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunLog, "step", step_with_signal)
        return train(folder, *flags)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert train(folder) == 0
    return folder


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run stopped after step 6, where an evaluation was due."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    assert run_and_stop_at(folder, 6) == STOPPED == 75
    return folder


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """Return a copy of the stopped run for one test."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(folder: Path, capsys: pytest.CaptureFixture[str], status: int, *flags: str) -> str:
    """Check that the run does not start and does not change the folder; return its error."""
    before = contents(folder)
    assert train(folder, *flags) == status
    assert contents(folder) == before
    error = capsys.readouterr().err
    assert [line.startswith("error:") for line in error.splitlines()].count(True) == 1
    return error


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timing = ("seconds", "tokens_per_second")
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]


def assert_ends_like(folder: Path, undisturbed: Path) -> None:
    assert metrics(folder) == metrics(undisturbed)
    assert (folder / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    pictures = {"report.html", "report.png"}  # single tests go without
    names = [{path.name for path in each.iterdir()} - pictures for each in (folder, undisturbed)]
    assert names[0] == names[1]


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def names_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir()}


def test_the_help_says_the_status_of_a_stopped_run_and_how_to_resume_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help-all"]) == 0
    shown = capsys.readouterr().out
    assert f"\n    {STOPPED}   a signal stopped it, and `--resume` continues it" in shown
    for flag in ("--resume ", "--save_steps ", "--save_minutes ", "--save_total_limit "):
        assert flag in shown


def test_a_signal_stops_after_the_step_with_a_checkpoint_and_its_own_status(stopped: Path) -> None:
    assert names_of(stopped) == {"step-4", "step-6", "best-3"}
    assert all(damage_of(folder) is None for folder in (stopped / "checkpoints").iterdir())
    assert [line["step"] for line in metrics(stopped)] == [2, 3, 4, 6], "the evaluation that is due can wait"
    assert not (stopped / "model.safetensors").exists()


def test_a_resumed_run_equals_an_uninterrupted_one(stopped: Path, undisturbed: Path) -> None:
    assert train(stopped, "--resume") == 0
    assert_ends_like(stopped, undisturbed)


def test_checkpoints_do_not_change_the_result(tmp_path: Path, undisturbed: Path) -> None:
    assert train(tmp_path / "run", "--save_steps", "null", "--save_minutes", "null") == 0
    assert metrics(tmp_path / "run") == metrics(undisturbed)


def test_a_named_checkpoint_is_resumed_and_later_ones_are_removed(stopped: Path, undisturbed: Path) -> None:
    named = stopped / "checkpoints" / "step-4"
    assert run_and_stop_at(stopped, 5, "--resume", str(named)) == 75
    assert names_of(stopped) == {"step-4", "step-5", "best-3"}
    assert train(stopped, "--resume") == 0
    assert_ends_like(stopped, undisturbed)


def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    stopped: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(stopped / "checkpoints" / "step-6" / "model.safetensors")
    assert train(stopped, "--resume") == 0
    shown = capsys.readouterr().err
    latest, before = stopped / "checkpoints" / "step-6", stopped / "checkpoints" / "step-4"
    assert f"warning: checkpoint {latest}: model.safetensors does not match its checksum; using the one before" in shown
    assert f"resuming from {before}" in shown
    assert_ends_like(stopped, undisturbed)


@pytest.mark.parametrize("file", ["trainer_state.json", "optimizer.safetensors", "random_states.json", "config.json"])
def test_damage_to_any_file_counts(stopped: Path, capsys: pytest.CaptureFixture[str], file: str) -> None:
    flags = ["--output_dir", str(stopped), "--resume"]
    settings = read_settings(["--config", str(stopped / "training_args.yaml"), *flags])
    assert getattr(choose_checkpoint(settings, processes=1), "folder", None) == stopped / "checkpoints" / "step-6"
    damage(stopped / "checkpoints" / "step-6" / file)
    assert getattr(choose_checkpoint(settings, processes=1), "folder", None) == stopped / "checkpoints" / "step-4"
    assert f"step-6: {file} does not match its checksum" in capsys.readouterr().err


def test_without_a_complete_checkpoint_nothing_is_changed(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(stopped / "checkpoints" / "best-3" / "model.safetensors")
    error = assert_refused(stopped, capsys, 1, "--resume")
    assert "error: no checkpoint is complete; remove them and start again, or restore one of them" in error
    for name in ("step-4", "step-6"):
        assert f"{name}: its best model, best-3: model.safetensors does not match its checksum" in error


def test_a_named_checkpoint_that_is_damaged_or_not_of_the_run_is_refused(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = shutil.copytree(stopped / "checkpoints" / "step-6", tmp_path / "elsewhere")
    error = assert_refused(stopped, capsys, 1, "--resume", str(elsewhere))
    assert f"{elsewhere} is not a checkpoint of the run in {stopped}" in error
    assert "step-6, step-4" in error
    damage(stopped / "checkpoints" / "step-6" / "optimizer.safetensors")
    error = assert_refused(stopped, capsys, 1, "--resume", str(stopped / "checkpoints" / "step-6"))
    assert "step-6: optimizer.safetensors does not match its checksum; --resume alone takes the latest" in error


def test_a_checkpoint_of_another_version_is_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stopped / "checkpoints" / "step-6"
    state = json.loads((folder / "trainer_state.json").read_text())
    (folder / "trainer_state.json").write_text(json.dumps(state | {"format": 1}))
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    assert "step-6 was written by another version of this package" in assert_refused(stopped, capsys, 1, "--resume")


def test_a_changed_recipe_is_refused_with_all_that_differs(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = assert_refused(stopped, capsys, 1, "--resume", "--seed", "5", "--dropout", "0.3")
    assert "is of a run with other settings; change them back, or choose another output_dir" in error
    assert "\n  dropout: was 0.1, is 0.3\n" in error
    assert "\n  seed: was 1, is 5\n" in error


def test_changed_data_are_refused_with_the_name_of_the_split(
    stopped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sineformer.training.data import loading

    load_split = loading.load_split

    def without_one(split: str, size: int, seed: int) -> list[tuple[str, str]]:
        pairs = load_split(split, size, seed)
        return [*pairs[:-1], ("Yes.", "Nein.")] if split == "validation" else pairs

    monkeypatch.setattr(loading, "load_split", without_one)
    error = assert_refused(stopped, capsys, 1, "--resume")
    assert f"the data differ from those of {stopped / 'checkpoints' / 'step-6'}; changed: validation." in error


def test_limits_and_intervals_may_change(stopped: Path, undisturbed: Path) -> None:
    flags = ["--max_steps", "10", "--eval_steps", "5", "--logging_steps", "1", "--num_beams", "2", "--patience", "9"]
    assert train(stopped, "--resume", *flags) == 0
    assert [line["step"] for line in metrics(stopped) if line["kind"] == "validation"] == [3, 10]
    assert yaml.safe_load((stopped / "training_args.yaml").read_text())["max_steps"] == 10


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_another_last_step_is_refused_with_a_schedule_that_depends_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder = tmp_path / "run"
    assert run_and_stop_at(folder, 1, "--lr_scheduler_type", kind) == 75
    capsys.readouterr()
    error = assert_refused(folder, capsys, 1, "--resume", "--lr_scheduler_type", kind, "--max_steps", "30")
    assert f"max_steps: was 9, is 30; the {kind} schedule depends on it" in error


def test_a_step_has_to_keep_its_number_of_batches(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = assert_refused(stopped, capsys, 1, "--resume", "--gradient_accumulation_steps", "3")
    assert "a step of this run has 2 batches, but 1 processes with 3 each make 3" in error
    assert "processes x gradient_accumulation_steps may be 1 x 2, 2 x 1" in error


def test_a_new_run_does_not_replace_checkpoints_unasked(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = assert_refused(stopped, capsys, 2)
    assert f"output_dir: {stopped} has checkpoints of a run; add --resume to continue it" in error
    error = assert_refused(stopped, capsys, 2, "--resume", "--overwrite_output_dir")
    assert "resume_from_checkpoint, overwrite_output_dir: resume the run or replace it" in error


def test_resuming_before_the_first_checkpoint_is_starting(tmp_path: Path, undisturbed: Path) -> None:
    folder = tmp_path / "run"
    assert train(folder, "--resume", "--max_steps", "9") == 0
    assert_ends_like(folder, undisturbed)


def test_a_folder_with_other_files_is_not_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    error = assert_refused(tmp_path, capsys, 1, "--resume")
    assert f"{tmp_path} holds files, but no run to resume" in error


def test_a_finished_run_is_not_changed(undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(undisturbed)
    assert train(undisturbed, "--resume") == 0
    assert f"the run in {undisturbed} has finished" in capsys.readouterr().err
    assert contents(undisturbed) == before
    assert "seed: was 1, is 2" in assert_refused(undisturbed, capsys, 1, "--resume", "--seed", "2")
    error = assert_refused(undisturbed, capsys, 1, "--resume", "--max_steps", "20")
    assert "max_steps: changed, but the run" in error
    assert f"to train it further, use --model_name_or_path {undisturbed} and another output_dir" in error


def test_a_run_killed_during_its_clean_up_finishes_it_when_resumed(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sineformer.training.run.report", report)  # this test goes with pictures
    folder = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    (folder / "checkpoints.removing").mkdir()
    (folder / "checkpoints.removing" / "manifest.json").touch()
    (folder / "report.png").rename(folder / "report.png.writing")
    (folder / "report.html").write_text("of a stop before")
    assert train(folder, "--resume") == 0
    assert contents(folder).keys() == contents(undisturbed).keys()
    assert "of a stop before" not in (folder / "report.html").read_text(encoding="utf-8")


def test_a_run_that_replaces_a_finished_one_has_not_finished(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    assert run_and_stop_at(folder, 1, "--overwrite_output_dir") == STOPPED
    remove_folder(folder / "checkpoints" / "step-1")  # as if it had been killed before
    assert train(folder, "--resume") == 0
    assert "has finished" not in capsys.readouterr().err
    assert_ends_like(folder, undisturbed)


def test_a_full_disk_ends_the_run_with_one_message_and_complete_checkpoints(
    stopped: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    weights = (stopped / "checkpoints" / "step-6" / "model.safetensors").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (weights - 1, limits[1]))
    try:
        assert train(stopped, "--resume") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    assert [line.startswith("error:") for line in error.splitlines()].count(True) == 1
    assert f"error: cannot write the best model, {stopped / 'checkpoints' / 'best-6'}: " in error
    assert "File too large" in error
    assert names_of(stopped) == {"step-4", "step-6", "best-3"}
    assert all(damage_of(folder) is None for folder in (stopped / "checkpoints").iterdir())
    assert train(stopped, "--resume") == 0
    assert_ends_like(stopped, undisturbed)


def as_nobody(call: Callable[[], Any]) -> Any:
    """Call without the rights of root, to which permissions do not apply."""
    if os.geteuid() != 0:
        return call()
    os.seteuid(65_534)
    try:
        return call()
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_found_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's folders are closed to others
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o000)
        os.chmod(place, 0o555)
        for folder in (Path(place) / "run", closed / "run"):
            assert as_nobody(lambda folder=folder: train(folder)) == 2
            assert f"output_dir: {folder} cannot be written to" in capsys.readouterr().err


def test_a_checkpoint_is_a_model_with_the_weights_of_its_step(stopped: Path) -> None:
    from sineformer import SineformerForConditionalGeneration

    folder = stopped / "checkpoints" / "step-6"
    model = SineformerForConditionalGeneration.from_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() <= model.state_dict().keys()
    assert not list(folder.rglob("*.pt")) + list(folder.rglob("*.bin")), "nothing is pickled"
