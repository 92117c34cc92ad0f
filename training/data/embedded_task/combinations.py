"""Find the combinations of words in a sentence, which determine its split."""

from __future__ import annotations

from collections.abc import Iterator

from .phrases import Clause, NounPhrase, Phrase, PrepositionalPhrase, Sentence

Combination = tuple[str, str, str]


def combinations(sentence: Sentence) -> frozenset[Combination]:
    """Return every noun of the sentence with its adjective and with the verb it is subject or object of."""
    return frozenset(found for clause in sentence.clauses for found in _in_clause(clause))


def _in_clause(clause: Clause) -> Iterator[Combination]:
    verb = clause.verb.prefix + clause.verb.infinitive
    goal = clause.goal.phrase if clause.goal and clause.verb.preposition else None
    for role, phrase in (
        ("subject", clause.subject),
        ("object", clause.accusative),
        ("dative", clause.dative),
        ("goal", goal),
    ):
        if isinstance(phrase, NounPhrase):
            yield role, verb, phrase.noun.english
            yield from _in_phrase(phrase)
    if clause.predicate and isinstance(clause.subject, NounPhrase):
        yield "adjective", clause.predicate[0].removeprefix("very "), clause.subject.noun.english
    for circumstance in (clause.goal, clause.setting, clause.time):
        if isinstance(circumstance, PrepositionalPhrase):
            yield from _in_phrase(circumstance.phrase)


def _in_phrase(phrase: Phrase | None) -> Iterator[Combination]:
    if not isinstance(phrase, NounPhrase):
        return
    if phrase.adjective:
        yield "adjective", phrase.adjective.english, phrase.noun.english
    if phrase.relative:
        yield from _in_clause(phrase.relative.clause)
