"""Define which files a published model folder contains, and check one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard
from safetensors import SafetensorError
from transformers import AutoTokenizer
from transformers.dynamic_module_utils import get_relative_import_files

from ...configuration.configuration_sineformer import SineformerConfig
from ...modeling.code_files import AUTO_MAP
from ...modeling.modeling_sineformer import SineformerForConditionalGeneration
from ...modeling.tokenization_sineformer import TARGET_FOLDER
from ..data.tokenizer import TOKENIZER_FILES
from ..system.output_folder import (
    ADAPTER_FILES,
    ADAPTER_FOLDER,
    CARD,
    CHECKPOINTS,
    METRICS_FILE,
    NOTICE,
    PROFILE_FOLDER,
    REPORT_FILES,
    SETTINGS_FILE,
    TRACKERS,
    VERSIONS_FILE,
)
from .bare_process import BareProcessError, digest_in_bare_process, logits_digest
from .card import NOT_EVALUATED

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
REQUIRED = {CARD, CONFIG, "generation_config.json", TOKENIZER_CONFIG}
RECORDS = {METRICS_FILE, SETTINGS_FILE, VERSIONS_FILE, *REPORT_FILES, "LICENSE", NOTICE, ".gitattributes"}
# Not published: logs, checkpoints and results of our training, of `Seq2SeqTrainer` and of transformers' examples.
LEFT_OUT = (
    *(*TRACKERS, PROFILE_FOLDER, CHECKPOINTS, "runs", "checkpoint-*", ".git", ".cache"),
    *("training_args.bin", "trainer_state.json", "*_results.json", "generated_predictions.txt"),
    *("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth"),
)
METADATA = {"language": "[en, de]", "library_name": "transformers", "pipeline_tag": "translation"}  # and examples
PICKLES = {".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
SENTENCES = ("A dog is sleeping.", "Where is the small house of my sister?")


def model_files(folder: Path) -> list[PurePosixPath]:
    """Return the relative paths of all files below `folder` except those that are left out, sorted."""
    found = (PurePosixPath(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if not path.is_dir())
    return sorted(path for path in found if not _is_left_out(path.parts[0]))


def files_left_out(folder: Path) -> list[str]:
    """Return the names of files and folders that are not published though they belong to a training, sorted."""
    return sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if _is_left_out(path.name))


def _is_left_out(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in LEFT_OUT)


def belongs_to_model(path: PurePosixPath) -> bool:
    """Return whether loading a model may read this file; those of an earlier model must not stay next to a new one."""
    tokenizer = path.name in TOKENIZER_FILES and path.parent.name in ("", TARGET_FOLDER)
    return tokenizer or path.suffix in (".py", ".safetensors") or path.name == WEIGHTS_INDEX


def folder_problems(folder: Path) -> list[str]:
    """Return all problems of a folder that is to be published, one line each, with the file and the fix.

    It must contain a complete Sineformer model with tokenizer and card, no pickle and nothing else. Such a folder is
    loaded twice, here and in a process without Sineformer, and must give the same logits bit for bit.
    """
    if not (folder / CONFIG).is_file():
        return [f"{folder} holds no {CONFIG}; give the folder of a finished training"]
    config, broken = _read_json(folder / CONFIG)
    index, broken_index = _read_json(folder / WEIGHTS_INDEX) if (folder / WEIGHTS_INDEX).is_file() else ({}, [])
    code, code_broken = _code_files(folder, config)
    required = REQUIRED | _weight_files(index) | code
    incomplete = [*broken, *broken_index, *code_broken, *_config_problems(config), *_content_problems(folder, required)]
    card = list(_card_problems(folder / CARD, config)) if (folder / CARD).is_file() else []
    return [*incomplete, *card, *(_loading_problems(folder) if not incomplete else [])]


def _read_json(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return {}, [f"{path.name}: not valid JSON: {error}"]
    return (content, []) if isinstance(content, dict) else ({}, [f"{path.name}: not a JSON object"])


def _weight_files(index: dict[str, Any]) -> set[str]:
    return {WEIGHTS_INDEX, *index["weight_map"].values()} if index.get("weight_map") else {WEIGHTS}


def _config_problems(config: dict[str, Any]) -> Iterator[str]:
    kind = config.get("model_type")
    if config and kind != SineformerConfig.model_type:
        yield f"{CONFIG}: model_type is {kind!r}; expected {SineformerConfig.model_type!r}"
    elif missing := sorted(AUTO_MAP.keys() - config.get("auto_map", {}).keys()):
        yield f"{CONFIG}: auto_map has no {', '.join(missing)}; save the model with save_pretrained"


def _code_files(folder: Path, config: dict[str, Any]) -> tuple[set[str], list[str]]:
    """Return the files of the classes that the config names and of their imports, and the problems found."""
    classes = [*config.get("auto_map", {}).values()]
    classes += [each["impl"] for each in config.get("custom_pipelines", {}).values()]
    files = {f"{name.rpartition('--')[2].split('.')[0]}.py" for name in classes}
    try:
        imported = {Path(path).name for name in files for path in get_relative_import_files(folder / name)}
    except FileNotFoundError as error:
        return files, [f"{Path(error.filename).name}: missing, but other code needs it; save with save_pretrained"]
    return files | imported, []


def _content_problems(folder: Path, required: set[str]) -> Iterator[str]:
    for name in sorted(required):
        if not (folder / name).is_file() and not name.endswith(".py"):
            fix = "--card writes one" if name == CARD else "save model and tokenizer into the folder by save_pretrained"
            yield f"{name}: missing; {fix}"
    tokenizers = {f"{prefix}{name}" for name in TOKENIZER_FILES for prefix in ("", f"{TARGET_FOLDER}/")}
    allowed = required | RECORDS | tokenizers | {f"{ADAPTER_FOLDER}/{name}" for name in ADAPTER_FILES}
    unexpected = [path for path in model_files(folder) if str(path) not in allowed]
    for path in unexpected:
        if path.suffix in PICKLES:
            yield f"{path}: a pickle, which can run code on loading; remove it (weights belong in {WEIGHTS})"
    others = [path for path in unexpected if path.suffix not in PICKLES]
    for name in sorted({path.parts[0] + ("/" if len(path.parts) > 1 else "") for path in others}):
        yield f"{name}: not part of a model; move it out of the folder"


def _card_problems(path: Path, config: dict[str, Any]) -> Iterator[str]:
    try:
        card = ModelCard.load(path)
    except (ValueError, yaml.YAMLError) as error:
        yield f"{path.name}: the metadata are invalid: {' '.join(str(error).split())}"
        return
    data = card.data
    for key, example in METADATA.items():
        if not data.get(key):
            yield f"{path.name}: the metadata have no {key}; add the line `{key}: {example}` to those between `---`"
    languages = [config[key] for key in ("source_language", "target_language") if config.get(key)]
    named = data.get("language") or languages
    if missing := [code for code in languages if code not in ([named] if isinstance(named, str) else named)]:
        yield f"{path.name}: the metadata have no language {', '.join(missing)}, but {CONFIG} does; make them agree"
    if not data.get("eval_results") and NOT_EVALUATED not in card.text:
        yield (
            f"{path.name}: the model-index has no results; sineformer-evaluate --update_model_card adds them, or write "
            f"into the card: {NOT_EVALUATED}"
        )
    for number, result in enumerate(data.get("eval_results") or [], start=1):
        yield from (f"{path.name}: model-index, result {number}: {problem}" for problem in _result_problems(result))


def _result_problems(result: EvalResult) -> Iterator[str]:
    for key in ("task_type", "dataset_type", "dataset_name", "metric_type"):
        if not getattr(result, key):
            yield f"no {key.replace('_', ' ')}"
    value = result.metric_value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        yield f"the value of {result.metric_type} is {value!r}, not a number"


def _loading_problems(folder: Path) -> Iterator[str]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model: Any = SineformerForConditionalGeneration.from_pretrained(folder)
        here = logits_digest(model.eval(), tokenizer, SENTENCES)
        without_package = digest_in_bare_process(folder, SENTENCES)
    except BareProcessError as error:
        yield f"the folder does not load where Sineformer is not installed: {error}"
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        yield f"the folder does not load: {' '.join(str(error).split())}"
    else:
        if here != without_package:
            yield "the code in the folder and the installed Sineformer give different logits; save the model again"
