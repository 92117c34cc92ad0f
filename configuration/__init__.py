"""Define the configuration of the model."""

from .configuration_sineformer import SineformerConfig

__all__ = ["SineformerConfig"]
