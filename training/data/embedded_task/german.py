"""Write phrases and clauses in German: word order, agreement, negation, commas."""

from __future__ import annotations

from .german_forms import (
    DEFINITE_ARTICLE,
    DIESER_ENDING,
    EIN_ENDING,
    RELATIVE_PRONOUN,
    adjective_form,
    auxiliary_form,
    has_preterite,
    noun_form,
    present_form,
    with_preposition,
)
from .phrases import Clause, NounPhrase, Phrase, PrepositionalPhrase, RelativeClause
from .words import Adverbial, Name, Pronoun

_DECLENSION = {"definite": "weak", "demonstrative": "weak", "interrogative": "weak"} | {
    "indefinite": "mixed",
    "possessive": "mixed",
}


def gender_of(phrase: NounPhrase) -> str:
    """Return m, f, n, or p for a plural."""
    return "p" if phrase.plural else phrase.noun.gender


def person_of(phrase: Phrase) -> int:
    """Return 0 for ich, 1 for du, 2 for er/sie/es, 3 for a plural."""
    if isinstance(phrase, Pronoun):
        return phrase.person
    return 3 if isinstance(phrase, NounPhrase) and phrase.plural else 2


def german_phrase(phrase: Phrase, case: str, negated: bool = False) -> str:
    """Return the phrase in a case; `negated` makes an indefinite one a phrase with kein."""
    if isinstance(phrase, Name):
        return phrase.text
    if isinstance(phrase, Pronoun):
        return {"nom": phrase.nominative, "acc": phrase.accusative, "dat": phrase.dative}[case]
    gender = gender_of(phrase)
    article, declension = _determiner(phrase, case, gender, negated)
    words = [article]
    if phrase.adjective:
        words.append("sehr" if phrase.very else "")
        words.append(adjective_form(phrase.adjective, declension, case, gender))
    words.append(noun_form(phrase.noun, case, phrase.plural))
    if phrase.possessor:
        words.append(german_phrase(phrase.possessor, "gen"))
    text = " ".join(filter(None, words))
    return text + _relative(phrase.relative, gender) if phrase.relative else text


def _determiner(phrase: NounPhrase, case: str, gender: str, negated: bool) -> tuple[str, str]:
    """Return the article or another determiner, and the declension of the adjective after it."""
    kind, german = phrase.determiner.kind, phrase.determiner.german
    if negated and is_indefinite(phrase):
        return "kein" + EIN_ENDING[case, gender], "mixed"
    declension = _DECLENSION.get(kind, "strong")
    if kind == "definite":
        return DEFINITE_ARTICLE[case, gender], declension
    if kind in ("demonstrative", "interrogative"):
        return ("dies" if kind == "demonstrative" else "welch") + DIESER_ENDING[case, gender], declension
    if kind == "indefinite":
        return "ein" + EIN_ENDING[case, gender], declension
    if kind == "possessive":
        return german + EIN_ENDING[case, gender], declension
    return {"count": german, "name": german + "s", "bare": ""}[kind], declension


def is_indefinite(phrase: Phrase | None) -> bool:
    """Return whether negation turns the phrase into one with kein."""
    return isinstance(phrase, NounPhrase) and phrase.determiner.kind in ("indefinite", "bare")


def german_prepositional(phrase: PrepositionalPhrase) -> str:
    """Return the prepositional phrase, contracted."""
    if phrase.phrase is None:
        return phrase.preposition.german
    return with_preposition(phrase.preposition.german, german_phrase(phrase.phrase, phrase.preposition.case))


def _relative(relative: RelativeClause, gender: str) -> str:
    pronoun = RELATIVE_PRONOUN[relative.role, gender]
    return f", {pronoun} {verb_final(relative.clause, without=relative.role)},"


def _verbs(clause: Clause) -> tuple[str, str, str]:
    """Return (finite verb, separable prefix, rest of the verb at the end of the clause)."""
    verb, person, past = clause.verb, person_of(clause.subject), clause.tense == "past"
    infinitive = verb.prefix + verb.infinitive
    if clause.modal:
        return auxiliary_form(clause.modal.german, person, past), "", infinitive
    if clause.tense == "future":
        return auxiliary_form("werden", person), "", infinitive
    if past and has_preterite(verb):
        return auxiliary_form(verb.infinitive, person, past), verb.prefix, ""
    if past:
        return auxiliary_form(verb.auxiliary, person), "", verb.participle
    return present_form(verb, person), verb.prefix, ""


def _middle(clause: Clause, without: str = "") -> list[str]:
    """Return the middle field: pronouns, time, dative, setting and accusative, nicht, goal, predicate.

    The setting comes before an indefinite accusative and after a definite one; nicht comes after the objects
    and before everything else. `without` leaves out the accusative ("acc"), for questions and relative clauses.
    """
    accusative = None if without == "acc" else clause.accusative
    with_kein = clause.negated and is_indefinite(accusative)
    objects = [(clause.dative, "dat"), (accusative, "acc")]
    pronouns = [german_phrase(item, case) for item, case in objects if isinstance(item, Pronoun)]
    others = [german_phrase(item, case, with_kein) for item, case in objects if item and not isinstance(item, Pronoun)]
    setting = [german_prepositional(clause.setting)] if clause.setting and not _setting_in_front(clause) else []
    frequency = [clause.frequency.german] if clause.frequency else []
    time = [german_time(clause.time)] if clause.time and not clause.time_first else []
    negation = ["nicht"] if clause.negated and not with_kein else []
    if is_indefinite(accusative) and others:
        others[-1:] = [*setting, others[-1]]
        setting = []
    goal = [german_prepositional(clause.goal)] if clause.goal else []
    predicate = [clause.predicate[1]] if clause.predicate else []
    return pronouns + time + frequency + others + negation + setting + goal + predicate


def _setting_in_front(clause: Clause) -> bool:
    return clause.time_first and clause.time is None


def german_time(time: Adverbial | PrepositionalPhrase) -> str:
    """Return a time or circumstance: a fixed adverbial or a prepositional phrase."""
    return time.german if isinstance(time, Adverbial) else german_prepositional(time)


def verb_second(clause: Clause, front: str = "", without: str = "") -> str:
    """Return a main clause. `front` (a question word, a subordinate clause) comes before the finite verb; "?" for none.

    By default the subject does, or the time or setting that the clause puts in front.
    """
    finite, prefix, rest = _verbs(clause)
    subject = german_phrase(clause.subject, "nom")
    if not front and clause.time_first:
        time, setting = clause.time, clause.setting
        front = german_time(time) if time else german_prepositional(setting) if setting else ""
    if without == "nom":
        order = [front, finite]
    elif front:
        order = ["" if front == "?" else front, finite, subject]
    else:
        order = [subject, finite]
    return " ".join(filter(None, [*order, *_middle(clause, without), prefix + rest]))


def verb_final(clause: Clause, without: str = "") -> str:
    """Return a subordinate clause without its conjunction or relative pronoun; `without` is the gap: "nom", "acc"."""
    finite, prefix, rest = _verbs(clause)
    subject = [] if without == "nom" else [german_phrase(clause.subject, "nom")]
    return " ".join(filter(None, [*subject, *_middle(clause, without), rest, prefix + finite]))
