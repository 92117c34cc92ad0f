"""Draw sentences of all kinds, with capital letters and punctuation."""

from __future__ import annotations

from dataclasses import replace

from . import joined, questions, statements
from .choose_clauses import ClauseChooser
from .phrases import Sentence
from .rng import Rng, Weights

# Weight of each kind of sentence, the function that draws it, and the mark at its end.
_KINDS = Weights(
    [
        (36.0, (statements.statement, ".")),
        (12.0, (statements.negated, ".")),
        (8.0, (statements.quality, ".")),
        (3.0, (statements.position, ".")),
        (2.0, (statements.age, ".")),
        (1.5, (statements.price, ".")),
        (9.0, (questions.yes_no, "?")),
        (9.0, (questions.with_question_word, "?")),
        (7.0, (joined.reported, ".")),
        (5.0, (joined.reason, ".")),
        (2.0, (joined.weather, ".")),
        (6.0, (joined.relative, ".")),
        (2.0, (joined.both, ".")),
        (2.0, (joined.hindrance, ".")),
    ]
)


class SentenceChooser:
    """Draw sentence pairs with one random number generator."""

    def __init__(self, seed: int) -> None:
        self._clauses = ClauseChooser(Rng(seed))

    def sentence(self) -> Sentence:
        """Return the next pair."""
        draw, mark = self._clauses.rng.weighted(_KINDS)
        sentence = draw(self._clauses)
        return replace(sentence, english=_finish(sentence.english, mark), german=_finish(sentence.german, mark))


def _finish(text: str, mark: str) -> str:
    """Capitalise the first letter and add the mark, which replaces the comma of a relative clause."""
    text = text[0].upper() + text[1:].removesuffix(",")
    return text if text.endswith("?") else text + mark
