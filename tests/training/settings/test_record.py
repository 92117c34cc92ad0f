"""Test which settings are recorded, and which of them a resumed run may change."""

from pathlib import Path

import pytest

from sineformer.training.checkpoints.resume import _check_settings
from sineformer.training.preflight import read_settings
from sineformer.training.settings.arguments import Settings, without_folders
from sineformer.training.settings.record import recorded_settings, write_settings
from sineformer.training.system.files import CheckpointError


def settings_with(folder: Path, names: tuple[str, str]) -> Settings:
    """Return the settings of a run on two files, in a new folder."""
    folder.mkdir()
    files = [str(folder / name) for name in names]
    for file in files:
        Path(file).write_text("x\n")
    flags = ["--dataset", "files", "--train_files", *files, "--validation_files", *files, "--max_steps", "1"]
    return read_settings([*flags, "--data_dir", str(folder), "--output_dir", str(folder / "out")])


def test_a_run_is_resumed_with_its_files_in_another_folder_but_not_with_others(tmp_path: Path) -> None:
    earlier = settings_with(tmp_path / "earlier", ("a.en", "a.de"))
    write_settings(tmp_path, earlier)
    recorded = recorded_settings(tmp_path)
    assert recorded is not None
    assert (recorded["train_files"], recorded["data_dir"], recorded["output_dir"]) == (
        ["a.en", "a.de"],
        "earlier",
        "out",
    )
    assert _check_settings(tmp_path, settings_with(tmp_path / "now", ("a.en", "a.de"))) == recorded
    with pytest.raises(CheckpointError, match=r"train_files: was \['a.en', 'a.de'\], is \['b.en', 'b.de'\]"):
        _check_settings(tmp_path, settings_with(tmp_path / "others", ("b.en", "b.de")))


def test_only_absolute_paths_are_shortened() -> None:
    values = {"model_name_or_path": "someone/model", "data_dir": "data/here", "dataset_name": "/is/a/name"}
    assert without_folders(values) == values
    assert without_folders({"train_files": ["/a/b.en", "c/d.en"]}) == {"train_files": ["b.en", "c/d.en"]}
