"""Sineformer: the encoder-decoder Transformer of "Attention Is All You Need" as a Hugging Face model package.

Importing it registers the model type "sineformer" with `AutoConfig`, `AutoModel`, `AutoModelForSeq2SeqLM` and
`AutoTokenizer`.
"""

from importlib.metadata import version

from .training.system.starting import end_quietly_while_starting

end_quietly_while_starting()  # before the next line, which takes seconds

from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer

from .configuration import SineformerConfig
from .modeling import (
    SineformerDecoder,
    SineformerEncoder,
    SineformerForConditionalGeneration,
    SineformerModel,
    SineformerPreTrainedModel,
    SineformerTokenizer,
)

__all__ = [
    "SineformerConfig",
    "SineformerDecoder",
    "SineformerEncoder",
    "SineformerForConditionalGeneration",
    "SineformerModel",
    "SineformerPreTrainedModel",
    "SineformerTokenizer",
    "__version__",
]

__version__ = version("sineformer")

AutoConfig.register("sineformer", SineformerConfig, exist_ok=True)
AutoModel.register(SineformerConfig, SineformerModel, exist_ok=True)
AutoModelForSeq2SeqLM.register(SineformerConfig, SineformerForConditionalGeneration, exist_ok=True)
AutoTokenizer.register(SineformerConfig, fast_tokenizer_class=SineformerTokenizer, exist_ok=True)
