"""Draw random main clauses: actions, qualities, positions, ages, prices."""

from __future__ import annotations

from dataclasses import replace

from .choose_clauses import ClauseChooser, Limits
from .english import english_clause
from .german import verb_second
from .lexicon_modifiers import (
    ADJECTIVES,
    BEHIND,
    IN_FRONT_OF,
    NAMES,
    NEXT_TO,
    NUMBERS,
    ON,
    PRONOUNS,
    UNDER,
    adjectives_for,
)
from .lexicon_nouns import NOUNS, nouns_tagged
from .lexicon_verbs import BE, COST, LYING
from .phrases import Clause, NounPhrase, Phrase, Sentence
from .words import Adjective

_HUMAN = tuple(word for word in ADJECTIVES if "person" in word.tags)
_DESCRIBED = tuple(noun for noun in NOUNS if adjectives_for(noun) and not noun.tags & {"weather", "resource"})


def _said(clause: Clause) -> Sentence:
    return Sentence(english_clause(clause), verb_second(clause), (clause,))


def statement(clauses: ClauseChooser) -> Sentence:
    """ "Yesterday the man bought a book." """
    clause = clauses.clause(clauses.verb(), Limits(can_front=True))
    return _said(clause)


def negated(clauses: ClauseChooser) -> Sentence:
    """ "The man is not buying a book." """
    clause = clauses.clause(clauses.verb(), Limits(negated=True, can_front=True))
    return _said(clause)


def quality(clauses: ClauseChooser) -> Sentence:
    """ "The house was very old." """
    rng = clauses.rng
    subject: Phrase
    if rng.chance(0.2):
        subject = rng.pick(PRONOUNS) if rng.chance(0.6) else rng.pick(NAMES)
        adjective = rng.pick(_HUMAN)
    else:
        subject = clauses.phrases.noun_phrase(_DESCRIBED, "known", plain=True)
        adjective = rng.pick(adjectives_for(subject.noun))
    clause = described(clauses, subject, adjective, "past" if rng.chance(0.25) else "present")
    return _said(clause)


def described(clauses: ClauseChooser, subject: Phrase, adjective: Adjective, tense: str) -> Clause:
    """Return the clause that says what the subject is like, sometimes negated."""
    predicate = clauses.phrases.graded(adjective)
    return Clause(subject, BE, tense, negated=clauses.rng.chance(0.2), predicate=predicate)


def position(clauses: ClauseChooser) -> Sentence:
    """ "The book is lying on the table." """
    rng = clauses.rng
    verb = rng.pick(LYING)
    subject = clauses.phrases.noun_phrase(nouns_tagged(*verb.subject), "subject")
    sides = (ON, UNDER, NEXT_TO, BEHIND, IN_FRONT_OF) if "sitter" in subject.noun.tags else (ON, NEXT_TO)
    clause = Clause(subject, verb, "present", goal=clauses.beside("surface", "dat", sides))
    return _said(clause)


def age(clauses: ClauseChooser) -> Sentence:
    """ "My sister is thirty-four years old." """
    rng = clauses.rng
    subject = clauses.phrases.subject(("person",), "known", plain=True)
    if isinstance(subject, NounPhrase):
        subject = replace(subject, plural=False)
    ages = NUMBERS
    if isinstance(subject, NounPhrase):
        if "minor" in subject.noun.tags:
            ages = NUMBERS[:14]
        elif "elder" in subject.noun.tags:
            ages = NUMBERS[28:]
    english, german = rng.pick(ages)
    clause = Clause(subject, BE, "present", predicate=(f"{english} years old", f"{german} Jahre alt"))
    return _said(clause)


def price(clauses: ClauseChooser) -> Sentence:
    """ "This book costs twenty euros." """
    subject = clauses.phrases.noun_phrase(nouns_tagged("clothes", "lost", "priced"), "shown")
    english, german = clauses.rng.pick(NUMBERS)
    clause = Clause(subject, COST, "present", predicate=(f"{english} euros", f"{german} Euro"))
    return _said(clause)
