"""A small vocabulary and a small model for the tests of training."""

import pytest
import torch

from sineformer.configuration.configuration_sineformer import SineformerConfig
from sineformer.modeling.modeling_sineformer import SineformerForConditionalGeneration
from sineformer.training.cleaning import CleaningReport, ParallelText
from sineformer.training.embedded_task import load_split
from sineformer.training.tokenizer import Tokenizers, train_tokenizers


def parallel(pairs: list[tuple[str, str]]) -> ParallelText:
    """Pairs as the cleaning gives them."""
    sources, targets = (list(side) for side in zip(*pairs, strict=True))
    return ParallelText(sources, targets, ["pairs.txt"] * len(pairs), list(range(1, len(pairs) + 1)))


@pytest.fixture(scope="session")
def small_text() -> ParallelText:
    """60 sentence pairs."""
    return parallel(load_split("train", 60, seed=5))


@pytest.fixture(scope="session")
def small_tokenizers(small_text: ParallelText) -> Tokenizers:
    """A joint vocabulary for `small_text`."""
    return train_tokenizers(small_text.sources, small_text.targets, vocab_size=400)


@pytest.fixture
def small_model(small_tokenizers: Tokenizers) -> SineformerForConditionalGeneration:
    """A fresh model, the same for every test, without dropout."""
    torch.manual_seed(3)
    config = SineformerConfig(
        vocab_size=len(small_tokenizers.source),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        dropout=0.0,
    )
    return SineformerForConditionalGeneration(config).eval()


@pytest.fixture
def report() -> CleaningReport:
    """An empty account of bad rows."""
    return CleaningReport()
