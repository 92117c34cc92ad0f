"""Define the model; read `modeling_sineformer.py` first."""

from .modeling_sineformer import (
    SineformerDecoder,
    SineformerEncoder,
    SineformerForConditionalGeneration,
    SineformerModel,
    SineformerPreTrainedModel,
)
from .tokenization_sineformer import SineformerTokenizer

__all__ = [
    "SineformerDecoder",
    "SineformerEncoder",
    "SineformerForConditionalGeneration",
    "SineformerModel",
    "SineformerPreTrainedModel",
    "SineformerTokenizer",
]
