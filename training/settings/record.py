"""What it takes to repeat a run: its settings and the versions it ran with."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path

import yaml

from ..system.files import write_file
from ..system.output_folder import SETTINGS_FILE, VERSIONS_FILE
from .arguments import DataArguments, Settings

LIBRARIES = (
    *("sineformer", "torch", "transformers", "tokenizers", "accelerate"),
    *("datasets", "evaluate", "sacrebleu", "sacremoses"),
)


def write_settings(folder: Path, settings: Settings) -> None:
    """Write all settings as a recipe. What is said about the folder's content is not part of it: it is said anew each
    time."""
    values = settings.as_dict() | {"overwrite_output_dir": False, "resume_from_checkpoint": None}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_file(folder / SETTINGS_FILE, text)


def recorded_split(folder: Path, digest: str) -> tuple[str, DataArguments] | None:
    """The split of a run's data with this digest, and the run's name for its data; None if the record knows no such.

    Args:
        folder: a model folder, which may lack the record.
        digest: `text_digest` of the whole split.

    Raises:
        ValueError: the record is damaged.
    """
    recorded = _recorded(folder)
    return None if recorded is None or digest not in recorded[0] else (recorded[0][digest], recorded[1])


def recorded_scoring(folder: Path) -> tuple[str, str | None] | None:
    """Return the code of the language that a run translates into, and the tokenizer of BLEU that its recipe asks for,
    None for that of the language; None if there is no record of the run.

    Raises:
        ValueError: the record is damaged.
    """
    recorded = _recorded(folder)
    return None if recorded is None else (recorded[1].target_language, recorded[2])


def _recorded(folder: Path) -> tuple[dict[str, str], DataArguments, str | None] | None:
    """The splits of a run's data by digest, how the run named data and languages, and the tokenizer of BLEU that it was
    told; None without a record."""
    versions, recipe = folder / VERSIONS_FILE, folder / SETTINGS_FILE
    if not (versions.is_file() and recipe.is_file()):
        return None
    names = ("dataset", "dataset_name", "source_language", "target_language")
    try:
        digests = json.loads(versions.read_text(encoding="utf-8")).get("data_sha256", {})
        settings = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        data = DataArguments(**{name: settings[name] for name in names})
        # Records of earlier versions know no tokenizer.
        return {digest: split for split, digest in reversed(digests.items())}, data, settings.get("bleu_tokenize")
    except (ValueError, KeyError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise ValueError(
            f"{versions} and {SETTINGS_FILE} there are not as training wrote them ({error!r}); remove or mend them"
        ) from error


def library_versions() -> dict[str, object]:
    """Versions of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}}


def write_versions(folder: Path, digests: dict[str, str]) -> None:
    """Write what the numbers of a run depend on beside its settings: the versions of Python and of the libraries, and
    the checksums of the data."""
    versions = library_versions() | {"data_sha256": digests}
    (folder / VERSIONS_FILE).write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
