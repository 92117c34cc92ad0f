"""Draw random questions with and without question words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .choose_clauses import ClauseChooser, Limits
from .english import english_clause, english_phrase, english_question
from .german import german_phrase, verb_second
from .lexicon_modifiers import PLACES
from .lexicon_verbs import MOTION
from .phrases import Clause, Determiner, NounPhrase, Sentence
from .words import Name, Verb

# The answer to a question word is not in the question; neither is a time, which would need another position.
_LIMITS = Limits(tenses=("present", "past", "future"), subject="known", can_time=False)
_WHO = Name("who", "m")


def yes_no(clauses: ClauseChooser) -> Sentence:
    """ "Is the man reading a book?" """
    clause = clauses.clause(clauses.verb(), Limits(subject="known"))
    return Sentence(english_question(clause), verb_second(clause, "?"), (clause,))


def with_question_word(clauses: ClauseChooser) -> Sentence:
    """Return a question with where, when, why, what, who, whom, which or how many."""
    return clauses.rng.pick((_where, _when, _why, _what, _who, _whom, _which, _how_many))(clauses)


def _verb(clauses: ClauseChooser, accepts: Callable[[Verb], bool]) -> Verb:
    while not accepts(verb := clauses.verb()):
        pass
    return verb


def _takes_place(verb: Verb) -> bool:
    return (
        verb.aspect == "doing"
        and verb.infinitive != "bleiben"
        and any(not place.activities.isdisjoint(verb.activities) for place in PLACES)
    )


def _is_about_things(verb: Verb) -> bool:
    return (
        bool(verb.accusative)
        and "person" not in verb.accusative
        and verb.infinitive != "haben"
        and not verb.dative
        and verb.aspect != "event"
    )


def _where(clauses: ClauseChooser) -> Sentence:
    verb = _verb(clauses, lambda verb: verb in MOTION or _takes_place(verb))
    clause = replace(clauses.clause(verb, _LIMITS), setting=None)
    if verb in MOTION or (clause.goal and clause.goal.preposition in (place.location for place in PLACES)):
        clause = replace(clause, goal=None)
    return Sentence(
        english_question(clause, "where"), verb_second(clause, "wohin" if verb in MOTION else "wo"), (clause,)
    )


def _when(clauses: ClauseChooser) -> Sentence:
    limits = replace(_LIMITS, tenses=("past", "future"), modals=0.0)
    clause = clauses.clause(_verb(clauses, lambda verb: verb.aspect != "state"), limits)
    return Sentence(english_question(clause, "when"), verb_second(clause, "wann"), (clause,))


def _why(clauses: ClauseChooser) -> Sentence:
    clause = clauses.clause(clauses.verb(), replace(_LIMITS, negated=clauses.rng.chance(0.3)))
    return Sentence(english_question(clause, "why"), verb_second(clause, "warum"), (clause,))


def _what(clauses: ClauseChooser) -> Sentence:
    clause = replace(clauses.clause(_verb(clauses, _is_about_things), _LIMITS), accusative=None)
    return Sentence(english_question(clause, "what"), verb_second(clause, "was"), (clause,))


def _who(clauses: ClauseChooser) -> Sentence:
    verb = _verb(clauses, lambda verb: verb.subject == ("person",))
    clause = clauses.clause(verb, replace(_LIMITS, can_time=True), subject=_WHO)
    return Sentence(english_clause(clause), verb_second(clause, "wer", "nom"), (clause,))


def _whom(clauses: ClauseChooser) -> Sentence:
    verb = _verb(clauses, lambda verb: verb.accusative == ("person",))
    clause = replace(clauses.clause(verb, _LIMITS), accusative=None)
    return Sentence(english_question(clause, "who"), verb_second(clause, "wen"), (clause,))


def _clause_about_thing(clauses: ClauseChooser) -> tuple[Clause, NounPhrase]:
    while True:
        clause = clauses.clause(_verb(clauses, _is_about_things), _LIMITS)
        if isinstance(clause.accusative, NounPhrase) and not clause.accusative.noun.is_mass:
            return clause, clause.accusative


def _about(clause: Clause, phrase: NounPhrase) -> Sentence:
    english = english_question(clause, english_phrase(phrase), "acc")
    german = verb_second(clause, german_phrase(phrase, "acc"), "acc")
    return Sentence(english, german, (replace(clause, accusative=phrase),))


def _which(clauses: ClauseChooser) -> Sentence:
    clause, phrase = _clause_about_thing(clauses)
    return _about(clause, replace(phrase, determiner=Determiner("interrogative"), possessor=None, very=False))


def _how_many(clauses: ClauseChooser) -> Sentence:
    clause, phrase = _clause_about_thing(clauses)
    many = Determiner("count", "how many", "wie viele")
    return _about(clause, replace(phrase, determiner=many, possessor=None, plural=True, very=False))
