"""Test the error message of `scripts/train.py`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_wrong_settings_are_one_message_and_status_2(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts" / "train.py", "--d_modl", "8", "--warmup_steps", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "error: 5 problems in the settings:"
    assert lines[1:] == [
        "  - command line: unknown key 'd_modl'; did you mean 'd_model'?",
        "  - warmup_steps: must be at least 1, got 0",
        "  - dataset: nothing says what to train on; give train_files and validation_files, the id of a dataset on the "
        "Hub as dataset, or 'dataset: embedded' for the embedded English-German task",
        "  - max_steps, num_epochs, max_minutes: training would never end; set at least one",
        "  - output_dir: set the folder for the model, for example --output_dir runs/first",
    ]
    assert not list(tmp_path.iterdir())
