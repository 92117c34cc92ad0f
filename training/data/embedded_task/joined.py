"""Draw random sentences of two clauses: reported clauses, reasons, conditions, relative clauses, "and", "but"."""

from __future__ import annotations

from dataclasses import replace

from .choose_clauses import ClauseChooser, Limits
from .choose_phrases import pronoun_for
from .english import english_clause, english_question
from .german import verb_final, verb_second
from .lexicon_modifiers import YOU, adjectives_for
from .lexicon_nouns import NOUN, nouns_tagged
from .lexicon_verbs import BE, CLAUSAL, HAVE, MODALS, TRANSITIVE, VERBS
from .phrases import Clause, Determiner, NounPhrase, Pair, Phrase, RelativeClause, Sentence
from .statements import described
from .words import Pronoun, Verb

_GERMAN = {"because": "weil", "although": "obwohl", "if": "wenn"}
# Reasons for or against what people do: activity, conjunctions, state or possession, whether it is negated.
_REASONS: tuple[tuple[str, tuple[str, ...], Pair | str, bool], ...] = (
    ("eat", ("because", "if"), ("hungry", "hungrig"), False),
    ("eat", ("although",), ("hungry", "hungrig"), True),
    ("drink", ("because", "if"), ("thirsty", "durstig"), False),
    ("drink", ("although",), ("thirsty", "durstig"), True),
    ("rest", ("because", "if"), ("tired", "müde"), False),
    ("rest", ("because", "if"), ("sick", "krank"), False),
    ("effort", ("although",), ("tired", "müde"), False),
    ("effort", ("although",), ("sick", "krank"), False),
    ("effort", ("because", "if"), "time", False),
    ("effort", ("although",), "time", True),
    ("leisure", ("because", "if"), "time", False),
    ("leisure", ("although",), "time", True),
    ("leisure", ("although",), ("tired", "müde"), False),
    ("shop", ("because", "if"), "money", False),
    ("shop", ("although",), "money", True),
)
_STATES = ("hungry", "thirsty", "tired", "sick")
_HINDRANCES: list[tuple[Pair | str, bool]] = [(("tired", "müde"), False), (("sick", "krank"), False), ("time", True)]
# Weather: conjunctions, English present and past, German verb-final present and past.
_WEATHER = (
    ("although", "it is raining", "it was raining", "es regnet", "es geregnet hat"),
    ("although", "it is snowing", "it was snowing", "es schneit", "es geschneit hat"),
    ("although", "it is cold", "it was cold", "es kalt ist", "es kalt war"),
    ("because", "the sun is shining", "the sun was shining", "die Sonne scheint", "die Sonne geschienen hat"),
    ("if", "the sun is shining", "", "die Sonne scheint", ""),
    ("because", "it is warm", "it was warm", "es warm ist", "es warm war"),
    ("if", "it is warm", "", "es warm ist", ""),
)
_WANT = next(modal for modal in MODALS if modal.german == "wollen")
_ACQUAINTED = next(verb for verb in TRANSITIVE if verb.infinitive == "kennen")


def reported(clauses: ClauseChooser) -> Sentence:
    """ "My mother hopes that ...", "Do you know whether ...?" """
    rng = clauses.rng
    verb = rng.pick(CLAUSAL)
    whether = "whether" in verb.activities and rng.chance(0.6)
    negated = not whether and rng.chance(0.2)
    content = clauses.clause(clauses.verb(), Limits(negated=negated, subject="known"))
    if whether:
        english, german = f" whether {english_clause(content)}", f", ob {verb_final(content)}"
        if content.subject is not YOU and rng.chance(0.4):
            main = Clause(YOU, verb, "present")
            english, german = f"{english_question(main)}{english}?", f"{verb_second(main, '?')}{german}?"
            return Sentence(english, german, (main, content))
        negated = True
    else:
        english, german = f" that {english_clause(content)}", f", dass {verb_final(content)}"
        negated = "deny" in verb.activities and not content.negated and rng.chance(0.4)
    subject = clauses.phrases.subject(("person",), "known", plain=True)
    while _same(subject, content.subject):
        subject = clauses.phrases.subject(("person",), "known", plain=True)
    main = Clause(subject, verb, "present", negated=negated)
    return Sentence(english_clause(main) + english, verb_second(main) + german, (main, content))


def _state(subject: Phrase, tense: str, what: Pair | str, negated: bool) -> Clause:
    if isinstance(what, str):
        resource = NounPhrase(NOUN[what], Determiner("bare"))
        return Clause(subject, HAVE, tense, negated=negated, accusative=resource)
    return Clause(subject, BE, tense, negated=negated, predicate=what)


def _person_doing(clauses: ClauseChooser, verb: Verb, limits: Limits) -> tuple[Clause, Pronoun]:
    """Return a clause about a person whom a pronoun can mean."""
    while True:
        clause = clauses.clause(verb, limits)
        pronoun = pronoun_for(clause.subject)
        if pronoun and not _is_in_a_state(clause.subject):
            return clause, pronoun


def _is_in_a_state(person: Phrase) -> bool:
    return isinstance(person, NounPhrase) and person.adjective is not None and person.adjective.english in _STATES


def reason(clauses: ClauseChooser) -> Sentence:
    """ "Because the man is hungry, he is eating an apple.", in either order."""
    activity, conjunctions, what, negated = clauses.rng.pick(_REASONS)
    conjunction = clauses.rng.pick(conjunctions)
    verb = clauses.rng.pick([verb for verb in VERBS if activity in verb.activities and _is_done_by_people(verb)])
    tenses = ("future",) if conjunction == "if" else ("present", "past")
    main, pronoun = _person_doing(clauses, verb, Limits(tenses=tenses, modals=0.0, can_time=False))
    tense = "past" if main.tense == "past" else "present"
    if clauses.rng.chance(0.4):
        state = _state(main.subject, tense, what, negated)
        main = replace(main, subject=pronoun)
        english, german = _subordinate_first(conjunction, (english_clause(state), verb_final(state)), main)
    else:
        state = _state(pronoun, tense, what, negated)
        english, german = _subordinate_last(main, conjunction, (english_clause(state), verb_final(state)))
    return Sentence(english, german, (state, main))


def _is_done_by_people(verb: Verb) -> bool:
    return any(tag in ("person", "adult", "minor") for tag in verb.subject)


def _subordinate_first(conjunction: str, subordinate: Pair, main: Clause) -> Pair:
    english, german = subordinate
    front = f"{_GERMAN[conjunction]} {german},"
    return f"{conjunction} {english}, {english_clause(main)}", verb_second(main, front)


def _subordinate_last(main: Clause, conjunction: str, subordinate: Pair) -> Pair:
    english, german = subordinate
    comma = "," if conjunction == "although" else ""
    return (
        f"{english_clause(main)}{comma} {conjunction} {english}",
        f"{verb_second(main).removesuffix(',')}, {_GERMAN[conjunction]} {german}",
    )


def weather(clauses: ClauseChooser) -> Sentence:
    """ "The boy is playing in the garden, although it is raining.", in either order."""
    conjunction, english, english_past, german, german_past = clauses.rng.pick(_WEATHER)
    verb = clauses.rng.pick([verb for verb in VERBS if "outdoor" in verb.activities])
    tenses = ("future",) if conjunction == "if" else ("present", "past")
    main = clauses.clause(verb, Limits(tenses=tenses, modals=0.0, can_time=False))
    subordinate = (english_past, german_past) if main.tense == "past" else (english, german)
    if clauses.rng.chance(0.5):
        return Sentence(*_subordinate_first(conjunction, subordinate, main), (main,))
    return Sentence(*_subordinate_last(main, conjunction, subordinate), (main,))


def relative(clauses: ClauseChooser) -> Sentence:
    """ "I know the man who is reading a book." and "The book that the man is reading is interesting." """
    rng = clauses.rng
    antecedent, role = _person_who(clauses) if rng.chance(0.55) else _thing_that(clauses)
    if role == "nom" and rng.chance(0.5):
        subject = clauses.phrases.subject(("person",), "known", plain=True)
        main = Clause(subject, _ACQUAINTED, "present", accusative=antecedent)
        if subject is YOU:
            german = verb_second(main, "?").removesuffix(",")
            return Sentence(f"{english_question(main)}?", f"{german}?", (main,))
        return Sentence(english_clause(main), verb_second(main), (main,))
    is_over = role == "acc" and antecedent.relative is not None and antecedent.relative.clause.tense == "past"
    adjective = rng.pick(adjectives_for(antecedent.noun))
    main = described(clauses, antecedent, adjective, "past" if is_over else "present")
    return Sentence(english_clause(main), verb_second(main), (main,))


def _definite(phrase: NounPhrase) -> NounPhrase:
    determiner = Determiner("definite")
    return replace(phrase, determiner=determiner, adjective=None, possessor=None, very=False)


def _person_who(clauses: ClauseChooser) -> tuple[NounPhrase, str]:
    people = [noun for noun in nouns_tagged("public", "social") if "kin" not in noun.tags]
    antecedent = _definite(clauses.phrases.noun_phrase(people, "known", plain=True))
    verb = clauses.verb()
    while verb.subject != ("person",):
        verb = clauses.verb()
    clause = clauses.clause(verb, Limits(tenses=("present", "past")), subject=antecedent)
    return replace(antecedent, relative=RelativeClause(clause, "nom")), "nom"


def _thing_that(clauses: ClauseChooser) -> tuple[NounPhrase, str]:
    """Return a thing with a clause in which it is the accusative object."""
    while True:
        verb = clauses.rng.pick([verb for verb in TRANSITIVE if verb.aspect != "state"])
        clause = clauses.clause(verb, Limits(tenses=("present", "past"), subject="known", can_time=False))
        phrase = clause.accusative
        if isinstance(phrase, NounPhrase) and "person" not in phrase.noun.tags and adjectives_for(phrase.noun):
            antecedent = _definite(phrase)
            return replace(antecedent, relative=RelativeClause(clause, "acc")), "acc"


def both(clauses: ClauseChooser) -> Sentence:
    """ "The man is reading a book, and the woman is sleeping." """
    tense = clauses.rng.pick(("present", "past"))
    limits = Limits(tenses=(tense,), modals=0.0, subject="known", can_time=False)
    first, second = (clauses.clause(_activity(clauses), limits) for _ in range(2))
    while _same(first.subject, second.subject):
        second = clauses.clause(_activity(clauses), limits)
    english = f"{english_clause(first)}, and {english_clause(second)}"
    return Sentence(english, f"{verb_second(first)} und {verb_second(second)}", (first, second))


def _activity(clauses: ClauseChooser) -> Verb:
    while (verb := clauses.verb()).aspect != "doing":
        pass
    return verb


def _same(first: Phrase, second: Phrase) -> bool:
    if isinstance(first, NounPhrase) and isinstance(second, NounPhrase):
        return first.noun is second.noun
    return first is second


def hindrance(clauses: ClauseChooser) -> Sentence:
    """ "The man wants to read a book, but he does not have any time." """
    verbs = [verb for verb in VERBS if verb.activities & {"effort", "leisure", "shop"} and _is_done_by_people(verb)]
    verb = clauses.rng.pick(verbs)
    main, pronoun = _person_doing(clauses, verb, Limits(tenses=("present", "past"), modals=0.0, can_time=False))
    main = replace(main, modal=_WANT)
    hindrances = [*_HINDRANCES, ("money", True)] if "shop" in verb.activities else _HINDRANCES
    what, negated = clauses.rng.pick(hindrances)
    state = _state(pronoun, main.tense, what, negated)
    english = f"{english_clause(main)}, but {english_clause(state)}"
    return Sentence(english, f"{verb_second(main)}, aber {verb_second(state)}", (main, state))
