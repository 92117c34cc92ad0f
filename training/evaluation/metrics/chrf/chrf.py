"""Provide chrF of sacrebleu as an `evaluate` module, which loads from this file alone, without a network.

The loader of `evaluate` parses imports by line, so there is one module per line.
"""

import datasets
import evaluate
from sacrebleu.metrics import CHRF

_DESCRIPTION = """
Character n-gram F-score (Popovic, 2015) as sacrebleu computes it, with the signature that makes a score comparable.
"""

_CITATION = """
@inproceedings{popovic-2015-chrf,
    title = "chr{F}: character n-gram {F}-score for automatic {MT} evaluation",
    author = "Popovi{\'c}, Maja",
    booktitle = "Proceedings of the Tenth Workshop on Statistical Machine Translation",
    year = "2015",
    pages = "392--395",
}
"""

_INPUTS = """
Args:
    predictions: list of translations.
    references: list of references, one for each translation.
    word_order: longest word n-gram that is counted too; 0 for chrF, 2 for chrF++.

Returns:
    score (0 to 100) and signature.
"""


class Chrf(evaluate.Metric):
    """Compute corpus chrF with one reference for each translation."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation=_CITATION, inputs_description=_INPUTS, features=features
        )

    def _compute(self, predictions: list[str], references: list[str], word_order: int = 0) -> dict[str, float | str]:
        metric = CHRF(word_order=word_order)
        result = metric.corpus_score(predictions, [references])
        return {"score": result.score, "signature": str(metric.get_signature())}
