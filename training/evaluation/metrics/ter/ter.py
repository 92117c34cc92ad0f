"""Provide TER of sacrebleu as an `evaluate` module, which loads from this file alone, without a network.

The loader of `evaluate` parses imports by line, so there is one module per line.
"""

import datasets
import evaluate
from sacrebleu.metrics import TER

_DESCRIPTION = """
Translation edit rate (Snover et al., 2006) as sacrebleu computes it, with the signature that makes a score comparable:
edits, shifts of words included, that turn translations into references, per 100 reference words. Lower is better.
"""

_CITATION = """
@inproceedings{snover-etal-2006-study,
    title = "A Study of Translation Edit Rate with Targeted Human Annotation",
    author = "Snover, Matthew and Dorr, Bonnie and Schwartz, Rich and Micciulla, Linnea and Makhoul, John",
    booktitle = "Proceedings of the 7th Conference of the Association for Machine Translation in the Americas",
    year = "2006",
    pages = "223--231",
}
"""

_INPUTS = """
Args:
    predictions: list of translations.
    references: list of references, one for each translation.
    normalized: split punctuation off words first.
    asian_support: with `normalized`, split Chinese and Japanese text at its characters too.
    case_sensitive: whether case counts.

Returns:
    score (0 for equal texts, without an upper bound) and signature.
"""


class Ter(evaluate.Metric):
    """Compute corpus TER with one reference for each translation."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation=_CITATION, inputs_description=_INPUTS, features=features
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        normalized: bool = False,
        case_sensitive: bool = False,
        asian_support: bool = False,
    ) -> dict[str, float | str]:
        metric = TER(normalized=normalized, asian_support=asian_support, case_sensitive=case_sensitive)
        result = metric.corpus_score(predictions, [references])
        return {"score": result.score, "signature": str(metric.get_signature())}
