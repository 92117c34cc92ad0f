"""The mixture of sentence kinds, and their capital letters and marks."""

from __future__ import annotations

from dataclasses import replace

from . import joined, questions, statements
from .choose_clauses import ClauseChooser
from .dice import Dice, Weights
from .phrases import Sentence

# How often each kind of sentence is drawn, what draws it, and the mark at its end.
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
    """Draws sentence pairs from one stream of random choices."""

    def __init__(self, seed: int) -> None:
        self._clauses = ClauseChooser(Dice(seed))

    def sentence(self) -> Sentence:
        """The next pair."""
        draw, mark = self._clauses.dice.weighted(_KINDS)
        sentence = draw(self._clauses)
        return replace(sentence, english=_finish(sentence.english, mark), german=_finish(sentence.german, mark))


def _finish(text: str, mark: str) -> str:
    """Capital letter in front, one mark at the end; a relative clause before it leaves its comma to the mark."""
    text = text[0].upper() + text[1:].removesuffix(",")
    return text if text.endswith("?") else text + mark
