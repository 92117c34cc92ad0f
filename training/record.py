"""What it takes to repeat a run: its settings and the versions it ran with."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path

import yaml

from .arguments import Settings

SETTINGS_FILE = "training_args.yaml"
VERSIONS_FILE = "versions.json"
LIBRARIES = ("sineformer", "torch", "transformers", "tokenizers", "accelerate", "datasets", "evaluate", "sacrebleu")


def write_settings(folder: Path, settings: Settings) -> None:
    """Write all settings as a recipe. Consent to overwrite a folder is not part of it: it is given anew each time."""
    values = settings.as_dict() | {"overwrite_output_dir": False}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")


def write_versions(folder: Path) -> None:
    """Write the versions of Python and of the libraries that the numbers of a run depend on."""
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES}
    (folder / VERSIONS_FILE).write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
