"""Name the files and folders that a run leaves in its output folder."""

from pathlib import Path

CARD = "README.md"
NOTICE = "NOTICE"
METRICS_FILE = "metrics.jsonl"
SETTINGS_FILE = "training_args.yaml"
VERSIONS_FILE = "versions.json"
REPORT_FILE, PICTURE_FILE = REPORT_FILES = ("report.html", "report.png")
PROFILE_FOLDER = "profile"
TENSORBOARD, WANDB = TRACKERS = ("tensorboard", "wandb")  # each leaves a folder of its name
CHECKPOINTS = "checkpoints"
STATE = "step-"
BEST = "best-"
ADAPTER_FOLDER = "adapter"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_WEIGHTS, "adapter_config.json")


def is_finished(output_dir: Path) -> bool:
    """Return whether a run has finished in this folder: it has a model and no checkpoints."""
    written = all((output_dir / name).exists() for name in (SETTINGS_FILE, "config.json", CARD))
    return written and not (output_dir / CHECKPOINTS).exists()


def what_is_saved(output_dir: Path) -> str:
    """Return, for a run that was interrupted, what is left of it in its folder."""
    if is_finished(output_dir):
        return f"the model in {output_dir} is complete"
    if state_folders(output_dir):
        return "--resume continues from the latest checkpoint"
    return "nothing was saved"


def state_folder(output_dir: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return output_dir / CHECKPOINTS / f"{STATE}{step}"


def state_folders(output_dir: Path) -> list[Path]:
    """Return the folders of the checkpoints to resume from, the latest first."""
    found = ((_step_of(path), path) for path in (output_dir / CHECKPOINTS).glob(f"{STATE}*"))
    return [path for step, path in sorted(found, reverse=True) if step >= 0]


def best_folder(output_dir: Path, step: int, is_mean: bool = False) -> Path:
    """Return the folder of a best model. The mean of several models has a separate folder, because a run that resumes
    from the checkpoint of that step needs the model without averaging."""
    return output_dir / CHECKPOINTS / (f"{BEST}{step}-mean" if is_mean else f"{BEST}{step}")


def _step_of(folder: Path) -> int:
    """Return the step in the name of a checkpoint; -1 if there is none, as while it is being written."""
    number = folder.name.partition("-")[2]
    return int(number) if number.isdecimal() else -1
