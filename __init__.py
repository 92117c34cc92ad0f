"""Sineformer: the encoder-decoder Transformer of "Attention Is All You Need" as a Hugging Face model package.

Importing it makes `AutoConfig`, `AutoModel` and `AutoModelForSeq2SeqLM` know the model type "sineformer".
"""

from importlib.metadata import version

from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from .configuration import SineformerConfig
from .modeling import (
    SineformerDecoder,
    SineformerEncoder,
    SineformerForConditionalGeneration,
    SineformerModel,
    SineformerPreTrainedModel,
)

__all__ = [
    "SineformerConfig",
    "SineformerDecoder",
    "SineformerEncoder",
    "SineformerForConditionalGeneration",
    "SineformerModel",
    "SineformerPreTrainedModel",
    "__version__",
]

__version__ = version("sineformer")

AutoConfig.register("sineformer", SineformerConfig, exist_ok=True)
AutoModel.register(SineformerConfig, SineformerModel, exist_ok=True)
AutoModelForSeq2SeqLM.register(SineformerConfig, SineformerForConditionalGeneration, exist_ok=True)
