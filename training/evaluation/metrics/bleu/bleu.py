"""Provide BLEU of sacrebleu as an `evaluate` module, which loads from this file alone, without a network.

The loader of `evaluate` parses imports by line, so there is one module per line.
"""

import datasets
import evaluate
from sacrebleu.metrics import BLEU

_DESCRIPTION = """
BLEU on detokenised text as sacrebleu defines it (Post, 2018), with the signature that makes a score comparable.
"""

_CITATION = """
@inproceedings{post-2018-call,
    title = "A Call for Clarity in Reporting {BLEU} Scores",
    author = "Post, Matt",
    booktitle = "Proceedings of the Third Conference on Machine Translation: Research Papers",
    year = "2018",
    pages = "186--191",
}
"""

_INPUTS = """
Args:
    predictions: list of translations.
    references: list of references, one for each translation.
    tokenize: tokenizer of sacrebleu, by default "13a", which splits at spaces. Text without spaces needs another: "zh"
        for Chinese, "char" for Japanese, Korean, Thai, Lao, Khmer, Burmese and Tibetan.
    lowercase: ignore case.

Returns:
    score (0 to 100) and signature.
"""


class Bleu(evaluate.Metric):
    """Compute corpus BLEU with one reference for each translation."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation=_CITATION, inputs_description=_INPUTS, features=features
        )

    def _compute(
        self, predictions: list[str], references: list[str], tokenize: str = "13a", lowercase: bool = False
    ) -> dict[str, float | str]:
        metric = BLEU(tokenize=tokenize, lowercase=lowercase)
        result = metric.corpus_score(predictions, [references])
        return {"score": result.score, "signature": str(metric.get_signature())}
