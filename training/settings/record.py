"""Write and read the record of a run: its settings, the versions of the libraries, and the checksums of its data."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from ..system.files import write_file
from ..system.output_folder import SETTINGS_FILE, VERSIONS_FILE
from .arguments import Settings, without_folders
from .data_arguments import DataArguments

GIVEN_FOR_EACH_RUN = {"overwrite_output_dir": False, "resume_from_checkpoint": None, "push_to_hub": False}
LIBRARIES = (
    *("sineformer", "torch", "transformers", "tokenizers", "accelerate"),
    *("datasets", "evaluate", "sacrebleu", "sacremoses"),
)


def write_settings(folder: Path, settings: Settings) -> None:
    """Write the settings as the recipe of a new run: those that must be given for each run are reset, and absolute
    paths are shortened to their last component, because the file is published."""
    values = without_folders(settings.as_dict()) | GIVEN_FOR_EACH_RUN
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_file(folder / SETTINGS_FILE, text)


def recorded_settings(folder: Path) -> dict[str, Any] | None:
    """Return the values that `write_settings` wrote into a folder, by key; None if there are none.

    Raises:
        ValueError: the file is damaged; the message names it and the fix.
        OSError: it cannot be read.
    """
    file = folder / SETTINGS_FILE
    if not file.is_file():
        return None
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file} is not valid YAML ({' '.join(str(error).split())}); restore or remove it") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file} does not hold the keys and values of a recipe; restore or remove it")
    return values


def recorded_split(folder: Path, digest: str) -> tuple[str, DataArguments] | None:
    """Return the name of the split with this digest in a run's data, and the run's names for its data; None if its
    record has no such split.

    Args:
        folder: a model folder, with or without a record.
        digest: `ParallelText.digest` of the complete split.

    Raises:
        ValueError: the record is damaged.
    """
    recorded = _recorded(folder)
    return None if recorded is None or digest not in recorded[0] else (recorded[0][digest], recorded[1])


def recorded_scoring(folder: Path) -> tuple[str | None, str | None] | None:
    """Return the target language code of a run and the tokenizer of BLEU set in its recipe, None for the default of the
    language; None if there is no record of the run.

    Raises:
        ValueError: the record is damaged.
    """
    recorded = _recorded(folder)
    return None if recorded is None else (recorded[1].target_language, recorded[2])


def _recorded(folder: Path) -> tuple[dict[str, str], DataArguments, str | None] | None:
    """Return the splits of a run's data by digest, the names of its data and languages, and its setting
    `bleu_tokenize`; None without a record."""
    versions = folder / VERSIONS_FILE
    names = ("dataset", "dataset_name", "source_language", "target_language")
    try:
        settings = recorded_settings(folder)
        if settings is None or not versions.is_file():
            return None
        digests = json.loads(versions.read_text(encoding="utf-8")).get("data_sha256", {})
        data = DataArguments(**{name: settings[name] for name in names})
        # Records of earlier versions have no tokenizer.
        return {digest: split for split, digest in reversed(digests.items())}, data, settings.get("bleu_tokenize")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{versions} and {SETTINGS_FILE} there were changed after training ({error!r}); restore or remove them"
        ) from error


def library_versions() -> dict[str, object]:
    """Return the versions of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}}


def write_versions(folder: Path, digests: dict[str, str]) -> None:
    """Write the versions of Python and of the libraries, and the checksums of the data, on which the numbers of a run
    depend besides its settings."""
    versions = library_versions() | {"data_sha256": digests}
    (folder / VERSIONS_FILE).write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
