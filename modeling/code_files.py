"""Writes the code of the model next to its weights, so that a checkpoint loads where Sineformer is not installed.

In the package the files stand in two folders; next to weights, and in the module cache of transformers, they are flat.
"""

import os
from pathlib import Path

from transformers import PreTrainedConfig

HERE = Path(__file__).parent
CODE_FILES = (
    *("attention.py", "code_files.py", "configuration_sineformer.py", "generation.py", "inputs.py", "layers.py"),
    *("loss.py", "modeling_sineformer.py", "positional_encoding.py", "translation_pipeline.py"),
    *("invisible_text.py", "tokenization_sineformer.py", "transition_scores.py"),
)
AUTO_MAP = {
    "AutoConfig": "configuration_sineformer.SineformerConfig",
    "AutoModel": "modeling_sineformer.SineformerModel",
    "AutoModelForSeq2SeqLM": "modeling_sineformer.SineformerForConditionalGeneration",
}
PACKAGE_IMPORT = "from ..configuration.configuration_sineformer import"
FLAT_IMPORT = "from .configuration_sineformer import"


def describe_code(config: PreTrainedConfig, pipeline: type) -> None:
    """Write into `config` which class of which file the Auto classes and `pipeline` take."""
    config.auto_map = dict(AUTO_MAP)
    config.custom_pipelines = {
        "translation": {"impl": f"translation_pipeline.{pipeline.__name__}", "pt": ["AutoModelForSeq2SeqLM"]}
    }


def write_code(directory: str | os.PathLike[str]) -> None:
    """Write every code file into `directory`, each whole or not at all."""
    for name in CODE_FILES:
        target = Path(directory) / name
        text = _source(name)
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        aside = target.with_name(f".{name}.{os.getpid()}")
        aside.write_text(text, encoding="utf-8")
        aside.replace(target)


def _source(name: str) -> str:
    path = HERE / name
    if not path.exists():
        path = HERE.parent / "configuration" / name
    return path.read_text(encoding="utf-8").replace(PACKAGE_IMPORT, FLAT_IMPORT)
