"""Define the meaning of a sentence, independent of language: phrases and clauses."""

from __future__ import annotations

from dataclasses import dataclass

from .words import Adjective, Adverbial, Modal, Name, Noun, Preposition, Pronoun, Verb


@dataclass(frozen=True)
class Determiner:
    """A determiner.

    `kind` is definite, indefinite, bare, demonstrative, interrogative, possessive, count or name; `english` and
    `german` hold the possessive, number or name where the kind has many.
    """

    kind: str
    english: str = ""
    german: str = ""


@dataclass(frozen=True)
class NounPhrase:
    """A noun with determiner, adjective, possessor ("the neighbor's ...") and relative clause.

    With a possessor the determiner is definite.
    """

    noun: Noun
    determiner: Determiner
    plural: bool = False
    adjective: Adjective | None = None
    very: bool = False
    possessor: NounPhrase | None = None
    relative: RelativeClause | None = None


Phrase = NounPhrase | Pronoun | Name
Pair = tuple[str, str]


@dataclass(frozen=True)
class PrepositionalPhrase:
    """A preposition and its phrase; `phrase` is None where the preposition is a complete fixed phrase ("at home")."""

    preposition: Preposition
    phrase: Phrase | None


@dataclass(frozen=True)
class Clause:
    """One clause. `tense` is present, habit, past or future.

    `setting` is a place, companion or beneficiary; `goal` a direction or an object with a preposition; `predicate`
    the English and German text after "be". `time_first` puts the time, or the setting when there is no time, in front.
    """

    subject: Phrase
    verb: Verb
    tense: str
    modal: Modal | None = None
    negated: bool = False
    accusative: Phrase | None = None
    dative: Phrase | None = None
    setting: PrepositionalPhrase | None = None
    goal: PrepositionalPhrase | None = None
    predicate: tuple[str, str] | None = None
    time: Adverbial | PrepositionalPhrase | None = None
    time_first: bool = False
    frequency: Adverbial | None = None


@dataclass(frozen=True)
class RelativeClause:
    """A clause about the noun before it. `role` (nom or acc) is the gap the relative pronoun fills."""

    clause: Clause
    role: str


@dataclass(frozen=True)
class Sentence:
    """A pair of sentences and their clauses."""

    english: str
    german: str
    clauses: tuple[Clause, ...]
