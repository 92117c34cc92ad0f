"""Name the formats of exports, and what every export holds beside the model.

ctranslate2    model.bin, config.json, shared_vocabulary.json (or one of source and target)
onnx           encoder.onnx, decoder.onnx, decoder_with_past.onnx
both           the tokenizer, generation_config.json, model_config.json (the fields of `SineformerConfig`)
"""

from __future__ import annotations

from pathlib import Path

# Each format and the file by which a folder of it is recognised.
FORMATS = {"ctranslate2": "model.bin", "onnx": "encoder.onnx"}
MODEL_CONFIG = "model_config.json"


def format_of(folder: Path) -> str | None:
    """Return the format of an export; None if the folder is none."""
    if not (folder / MODEL_CONFIG).is_file():
        return None
    return next((name for name, file in FORMATS.items() if (folder / file).is_file()), None)
