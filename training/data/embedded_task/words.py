"""Define the dictionary entries of the embedded task: English and German forms, and meanings.

The forms are the principal parts of a printed dictionary; `german_forms.py` and `english.py` inflect them.
`tags` are the meanings that determine which words fit together: a verb names the tags its subject and objects may have.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Noun:
    """A noun. `gender` is m, f or n; `genitive` is the ending of the German genitive singular.

    A weak noun ("der Junge, den Jungen") has the genitive ending "n" or "en", which all its singular cases
    but the nominative have. Mass nouns have an empty plural.
    """

    english: str
    english_plural: str
    german: str
    german_plural: str
    gender: str
    genitive: str
    tags: frozenset[str]

    @property
    def is_weak(self) -> bool:
        return self.genitive in ("n", "en")

    @property
    def is_mass(self) -> bool:
        return not self.german_plural


@dataclass(frozen=True, eq=False)
class Adjective:
    """An adjective: `german` as in "ist teuer", `stem` before an ending ("teur-es")."""

    english: str
    german: str
    stem: str
    tags: frozenset[str]


@dataclass(frozen=True, eq=False)
class Preposition:
    """A preposition and the case it governs in this use: nom, acc, dat or gen."""

    english: str
    german: str
    case: str


@dataclass(frozen=True, eq=False)
class Verb:
    """A verb with its principal parts and its frame.

    `aspect` fixes the English present: "doing" is progressive ("is reading"), a "state" is simple
    ("knows"), an "event" ("finds") has no present. `accusative`, `dative` and `prepositional` are the tags of
    the complements; `dative_to` marks English verbs that say "explain something to somebody". `activities` are
    the tags of fitting places, companions and circumstances.
    """

    english: str
    english_third: str
    english_past: str
    english_ing: str
    infinitive: str
    third: str
    participle: str
    auxiliary: str
    prefix: str
    aspect: str
    subject: tuple[str, ...]
    accusative: tuple[str, ...]
    dative: tuple[str, ...]
    dative_to: bool
    preposition: Preposition | None
    prepositional: tuple[str, ...]
    activities: frozenset[str]


@dataclass(frozen=True, eq=False)
class Modal:
    """A modal verb. `english` is ("can", "could") for an auxiliary, ("wants", "wanted") for a full verb.

    `english_link` follows it ("to", "like to"); `has_past` tells whether a past form is used.
    """

    english: str
    english_third: str
    english_past: str
    english_link: str
    german: str
    is_auxiliary: bool
    has_past: bool


@dataclass(frozen=True, eq=False)
class Place:
    """A place with the prepositions for being there and for going there.

    `noun` is None for places that are fixed phrases ("at home"); those give the phrases themselves.
    """

    noun: Noun | None
    location: Preposition
    direction: Preposition
    activities: frozenset[str]


@dataclass(frozen=True, eq=False)
class Adverbial:
    """A fixed adverbial and the tenses it goes with: present, habit, past, future."""

    english: str
    german: str
    tenses: frozenset[str]


@dataclass(frozen=True, eq=False)
class Pronoun:
    """A personal pronoun in its cases, with its possessive; `person` counts 0 ich, 1 du, 2 er, 3 wir/sie."""

    english: str
    english_object: str
    nominative: str
    accusative: str
    dative: str
    possessive_english: str
    possessive_german: str
    person: int
    english_be: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Name:
    """A first name; it has the same form in every case but the genitive ("Annas")."""

    text: str
    gender: str
