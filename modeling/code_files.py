"""Write the code of the model next to its weights, so that a checkpoint loads where Sineformer is not installed.

In the package the files are in two folders; next to weights, and in the module cache of transformers, in one.
"""

import os
import re
from pathlib import Path

from transformers import PreTrainedConfig

HERE = Path(__file__).parent
CONFIGURATION = "configuration_sineformer.py"
CODE_FILES = (
    *("attention.py", "code_files.py", "compatibility.py", CONFIGURATION, "consistency.py", "dropout.py"),
    *("encoder_decoder.py", "generation.py", "generation_request.py", "incremental_decoder.py", "inputs.py"),
    *("invisible_text.py", "layers.py", "likeliest_tokens.py", "loss.py", "modeling_sineformer.py", "outputs.py"),
    *("positional_encoding.py", "pretrained_model.py", "products.py", "search.py", "tokenization_sineformer.py"),
    *("transition_scores.py", "translation_pipeline.py"),
)
SHARD = r"-\d{5}-of-\d{5}"
AUTO_MAP = {
    "AutoConfig": "configuration_sineformer.SineformerConfig",
    "AutoModel": "modeling_sineformer.SineformerModel",
    "AutoModelForSeq2SeqLM": "modeling_sineformer.SineformerForConditionalGeneration",
}
PACKAGE_IMPORT = "from ..configuration.configuration_sineformer import"
FLAT_IMPORT = "from .configuration_sineformer import"
# transformers finds the class of a model by the class of its configuration, and compares configuration classes by the
# text of their file and of the files that it imports. With these imports, two folders with different code each run
# their own. They name every file: where several processes fill the module cache of transformers at once, each of them
# then copies what another one has not copied yet, before it reads the imports of the imports.
IMPORTS_OF_MODEL = "\n\nif False:  # read as text by transformers: ties the configuration to the code beside it\n"
IMPORTS_OF_MODEL += "".join(
    f"    from .{name.removesuffix('.py')} import *\n" for name in CODE_FILES if name != CONFIGURATION
)


def describe_code(config: PreTrainedConfig, pipeline: type) -> None:
    """Set `auto_map` and `custom_pipelines` of `config`: the file and class that Auto classes and `pipeline` load."""
    config.auto_map = dict(AUTO_MAP)
    config.custom_pipelines = {
        "translation": {"impl": f"translation_pipeline.{pipeline.__name__}", "pt": ["AutoModelForSeq2SeqLM"]}
    }


def write_code(directory: str | os.PathLike[str]) -> None:
    """Write every code file into `directory`, each atomically."""
    for name in CODE_FILES:
        target = Path(directory) / name
        text = _source(name)
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        aside = target.with_name(f".{name}.{os.getpid()}")
        aside.write_text(text, encoding="utf-8")
        aside.replace(target)


def remove_older_weights(directory: str | os.PathLike[str], variant: str | None = None) -> None:
    """Remove the weights of an earlier save into `directory` that would be loaded in place of the newest.

    transformers replaces files of the same name and removes shards of earlier saves. But it prefers `model.safetensors`
    to an index, so it would load an old single file instead of shards written later.

    Args:
        variant: part of the file names, as in `save_pretrained`. Weights of other variants are kept.
    """
    folder, dot = Path(directory), f".{variant}" if variant else ""
    single, index = folder / f"model{dot}.safetensors", folder / f"model.safetensors.index{dot}.json"
    if single.is_file() and index.is_file():
        min(single, index, key=lambda path: path.stat().st_mtime_ns).unlink()
    if single.is_file() or index.is_file():
        pickled = re.compile(
            rf"pytorch_model{re.escape(dot)}({SHARD})?\.bin|pytorch_model\.bin\.index{re.escape(dot)}\.json"
        )
        for path in folder.iterdir():
            if pickled.fullmatch(path.name):
                path.unlink()


def _source(name: str) -> str:
    path = HERE / name
    if not path.exists():
        path = HERE.parent / "configuration" / name
    text = path.read_text(encoding="utf-8").replace(PACKAGE_IMPORT, FLAT_IMPORT)
    return text + IMPORTS_OF_MODEL if name == CONFIGURATION and IMPORTS_OF_MODEL not in text else text
