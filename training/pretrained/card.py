"""Write the model card of a folder that has none, from what the folder tells about its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData
from transformers import PreTrainedConfig

from ...configuration.configuration_sineformer import NEWEST, OLDEST
from ..settings.record import recorded_settings
from ..system.files import file_problem, write_file
from ..system.output_folder import CARD
from .loading import PretrainedError, find_model, load_config

TEMPLATE = Path(__file__).resolve().parent.parent.parent / "model_card.md"
# A card says so instead of giving scores; an evaluation replaces it.
NOT_EVALUATED = "This model has not been evaluated."
EXAMPLES = {"en": "A dog is sleeping.", "de": "Ein Hund schläft.", "fr": "Un chien dort."}  # by source language


class CardError(ValueError):
    """Raised if a card cannot be written; the message gives the reason and the fix."""


def write_card(folder: Path, repo_id: str, languages: tuple[str, str] | None = None, notes: Path | None = None) -> None:
    """Write a README.md without scores.

    Args:
        folder: of a model, from `save_pretrained` or a trainer.
        repo_id: `owner/name`, which the example in the card loads.
        languages: codes of source and target; None for those recorded in the folder.
        notes: a Markdown file to append, such as license and citations; its metadata are added to those of the card.

    Raises:
        CardError: the folder has a card or no model, its languages are unknown, the notes cannot be read, or the card
            cannot be written.
    """
    path = folder / CARD
    if path.exists():
        raise CardError(f"{path} exists; edit it, or remove it to have another one written")
    try:
        config = load_config(find_model(str(folder)))
        source, target = languages or _recorded_languages(folder, config)
    except ValueError as error:
        raise CardError(str(error)) from error
    more, text = _read_notes(notes)
    problem = file_problem(path)
    if problem is not None:
        raise CardError(problem)
    name = repo_id.rpartition("/")[2]
    fields: dict[str, Any] = {
        "language": [source, target],
        "library_name": "transformers",
        "pipeline_tag": "translation",
        "tags": ["translation", "sineformer"],
        "model_name": name,
    }
    card = ModelCard.from_template(
        card_data=ModelCardData(**(fields | more)),
        template_path=str(TEMPLATE),
        title=name,
        place=python_literal(repo_id),
        example=python_literal(EXAMPLES.get(source, "A sentence to translate.")),
        source_language=source,
        target_language=target,
        both_directions=(recorded_settings(folder) or {}).get("both_directions", False),
        scores=NOT_EVALUATED,
        architecture=architecture(config),
        oldest_transformers=OLDEST,
        newest_transformers=NEWEST,
    )
    write_file(path, f"{str(card).rstrip()}\n{text}")


def _read_notes(notes: Path | None) -> tuple[dict[str, Any], str]:
    """Return the metadata of the notes, and their text with a blank line before it."""
    if notes is None:
        return {}, ""
    try:
        card = ModelCard.load(notes)
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise CardError(f"{notes} cannot be read as notes for a model card: {' '.join(str(error).split())}") from error
    return card.data.to_dict(), f"\n{card.text.strip()}\n"


def _recorded_languages(folder: Path, config: Any) -> tuple[str, str]:
    settings = recorded_settings(folder) or {}
    found = [settings.get(name) or getattr(config, name, None) for name in ("source_language", "target_language")]
    if not all(isinstance(code, str) for code in found):
        raise PretrainedError(f"{folder} does not record its languages; add --languages SOURCE TARGET, such as: en de")
    return str(found[0]), str(found[1])


def python_literal(text: str) -> str:
    """Return text as a Python string literal on one line, without a code fence that would end the Markdown block."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("```", r"\x60\x60\x60")
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in quoted) + '"'


def architecture(config: PreTrainedConfig) -> str:
    """Return the sizes of a model in one sentence."""
    return (
        f"{config.encoder_layers} encoder and {config.decoder_layers} decoder layers, width {config.d_model}, "
        f"{config.encoder_attention_heads} heads, feed-forward {config.encoder_ffn_dim}, "
        f"{'pre' if config.normalize_before else 'post'}-norm, sinusoidal positions, "
        f"vocabulary {config.vocab_size:,}"
        + (f" and {config.decoder_vocab_size:,}." if config.decoder_vocab_size != config.vocab_size else ".")
    )
