"""Write phrases and clauses in English: a/an, agreement, progressive and simple tenses, do-support, negation."""

from __future__ import annotations

from .german import is_indefinite, person_of
from .phrases import Clause, NounPhrase, Phrase, PrepositionalPhrase, RelativeClause
from .words import Adverbial, Name, Pronoun, Verb


def english_phrase(phrase: Phrase, is_object: bool = False, negated: bool = False) -> str:
    """Return the phrase; `negated` gives an indefinite plural or mass noun "any"."""
    if isinstance(phrase, Name):
        return phrase.text
    if isinstance(phrase, Pronoun):
        return phrase.english_object if is_object else phrase.english
    words = [phrase.noun.english_plural if phrase.plural else phrase.noun.english]
    if phrase.adjective:
        words.insert(0, phrase.adjective.english)
        words.insert(0, "very" if phrase.very else "")
    following = " ".join(filter(None, words))
    text = f"{_determiner(phrase, following[0], negated)} {following}".strip()
    return f"{text} {_relative(phrase.relative, phrase)}" if phrase.relative else text


def _determiner(phrase: NounPhrase, next_letter: str, negated: bool) -> str:
    kind, english = phrase.determiner.kind, phrase.determiner.english
    if phrase.possessor:
        return _genitive(english_phrase(phrase.possessor), phrase.possessor.plural)
    if kind == "indefinite":
        return "an" if next_letter in "aeiou" else "a"
    if kind == "name":
        return f"{english}'s"
    if kind == "demonstrative":
        return "these" if phrase.plural else "this"
    return {"definite": "the", "interrogative": "which", "bare": "any" if negated else ""}.get(kind, english)


def _genitive(owner: str, plural: bool) -> str:
    return f"{owner}'" if plural and owner.endswith("s") else f"{owner}'s"


def english_prepositional(phrase: PrepositionalPhrase) -> str:
    """Return the prepositional phrase."""
    if phrase.phrase is None:
        return phrase.preposition.english
    return f"{phrase.preposition.english} {english_phrase(phrase.phrase, is_object=True)}"


def english_time(time: Adverbial | PrepositionalPhrase) -> str:
    """Return a time or circumstance: a fixed adverbial or a prepositional phrase."""
    return time.english if isinstance(time, Adverbial) else english_prepositional(time)


def _relative(relative: RelativeClause, antecedent: NounPhrase) -> str:
    pronoun = "who" if "person" in antecedent.noun.tags else "that"
    return f"{pronoun} {english_clause(relative.clause, without=relative.role)}"


def _form(verb: Verb, form: str) -> str:
    text: str = {"base": verb.english, "third": verb.english_third, "past": verb.english_past, "ing": verb.english_ing}[
        form
    ]
    return text


def _be(clause: Clause) -> str:
    past = clause.tense == "past"
    if isinstance(clause.subject, Pronoun):
        return clause.subject.english_be[past]
    plural = person_of(clause.subject) == 3
    return ("were" if plural else "was") if past else ("are" if plural else "is")


def _is_third(clause: Clause) -> bool:
    return person_of(clause.subject) == 2


def _with_modal(clause: Clause) -> tuple[str, str, str]:
    modal = clause.modal
    if modal is None:
        raise ValueError("_with_modal needs a clause that has a modal verb")
    past = clause.tense == "past"
    tail = f"{modal.english_link} {_form(clause.verb, 'base')}".strip()
    if modal.is_auxiliary:
        return (modal.english_past if past else modal.english), tail, ""
    finite = modal.english_past if past else modal.english_third if _is_third(clause) else modal.english
    return "", f"{finite} {tail}", f"{modal.english} {tail}"


def _verbs(clause: Clause) -> tuple[str, str, str]:
    """Return (auxiliary, verb after it, base form for do-support); no base form if there is an auxiliary."""
    verb = clause.verb
    if clause.modal:
        return _with_modal(clause)
    if clause.tense == "future":
        return "will", _form(verb, "base"), ""
    if verb.english == "be":
        return _be(clause), "", ""
    if clause.tense == "past":
        return "", _form(verb, "past"), _form(verb, "base")
    if clause.tense == "present" and verb.aspect == "doing":
        return _be(clause), _form(verb, "ing"), ""
    return "", _form(verb, "third" if _is_third(clause) else "base"), _form(verb, "base")


def _do(clause: Clause) -> str:
    return "did" if clause.tense == "past" else "does" if _is_third(clause) else "do"


def _complements(clause: Clause, without: str) -> list[str]:
    """Return everything after the verb: objects, goal, predicate, setting, time."""
    accusative = None if without == "acc" else clause.accusative
    negated = clause.negated and is_indefinite(accusative)
    words = [english_phrase(accusative, True, negated)] if accusative else []
    if clause.dative:
        dative = english_phrase(clause.dative, True)
        words = [*words, f"to {dative}"] if clause.verb.dative_to else [dative, *words]
    if clause.predicate:
        words.append(clause.predicate[0])
    if clause.goal:
        words.append(english_prepositional(clause.goal))
    if clause.setting and not (clause.time_first and clause.time is None):
        words.append(english_prepositional(clause.setting))
    if clause.time and not clause.time_first:
        words.append(english_time(clause.time))
    return words


def _behind_verb(clause: Clause, verb: str, without: str) -> str:
    """Return verb and complements, with the particle of "pick~up" after a pronoun and before everything else."""
    words = _complements(clause, without)
    particle = verb.partition("~")[2]
    verb = verb.replace("_", " ")
    if particle and isinstance(clause.accusative, Pronoun) and without != "acc":
        return " ".join([verb.partition("~")[0], words[0], particle, *words[1:]])
    return " ".join([verb.replace("~", " "), *words]).strip()


def _front(clause: Clause) -> str:
    """Return the time or setting before the subject; a prepositional phrase has a comma."""
    if not clause.time_first:
        return ""
    if isinstance(clause.time, Adverbial):
        return english_time(clause.time) + " "
    phrase = clause.time or clause.setting
    return f"{english_prepositional(phrase)}, " if phrase else ""


def english_clause(clause: Clause, without: str = "") -> str:
    """Return a statement or subordinate clause; `without` ("nom", "acc") leaves a gap for "who" or "that"."""
    auxiliary, verb, base = _verbs(clause)
    subject = "" if without == "nom" else english_phrase(clause.subject)
    if clause.negated and base:
        auxiliary, verb = _do(clause), base
    if clause.negated:
        auxiliary = "cannot" if auxiliary == "can" else f"{auxiliary} not"
    words = [subject, auxiliary, clause.frequency.english if clause.frequency else ""]
    return _front(clause) + " ".join(filter(None, [*words, _behind_verb(clause, verb, without)]))


def english_question(clause: Clause, front: str = "", without: str = "") -> str:
    """Return a question with the auxiliary before the subject, after the question word `front`."""
    auxiliary, verb, base = _verbs(clause)
    if base:
        auxiliary, verb = _do(clause), base
    words = [front, auxiliary, english_phrase(clause.subject), "not" if clause.negated else ""]
    words.append(clause.frequency.english if clause.frequency else "")
    return " ".join(filter(None, [*words, _behind_verb(clause, verb, without)]))
