"""BLEU as the literature on Multi30k has it: over lower-case tokens of the Moses scripts (Koehn et al., 2007)."""

from __future__ import annotations

from importlib import metadata

from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_base import BaseTokenizer
from sacremoses import MosesPunctNormalizer, MosesTokenizer


class MosesTokens(BaseTokenizer):
    """Makes tokens of lower-case text as `normalize-punctuation.perl` and `tokenizer.perl` do one after the other.

    Args:
        language: whose rules are followed; those of English where Moses has none for it.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.normalizer, self.tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)

    def signature(self) -> str:
        """The part `tok:` of sacrebleu's signatures."""
        return f"moses-{self.language}-{metadata.version('sacremoses')}"

    def __call__(self, line: str) -> str:
        tokens: str = self.tokenizer.tokenize(self.normalizer.normalize(line), return_str=True, escape=False)
        return tokens


def lower_case_bleu(language: str) -> BLEU:
    """BLEU over the lower-case `MosesTokens` of both sides."""
    bleu = BLEU(lowercase=True, tokenize="none")
    bleu.tokenizer = MosesTokens(language)
    bleu.tokenizer_signature = bleu.tokenizer.signature()
    return bleu
