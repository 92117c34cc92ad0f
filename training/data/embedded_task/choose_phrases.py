"""Draw random noun phrases that make sense: determiner, adjective, owner and number that fit a noun."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from .lexicon_modifiers import COUNTS, HE, NAMES, PRONOUNS, SHE, THEY, adjectives_for
from .lexicon_nouns import nouns_tagged
from .phrases import Determiner, NounPhrase, Pair, Phrase
from .rng import Rng, Weights
from .words import Adjective, Name, Noun, Pronoun

_DEFINITE = Determiner("definite")
# How often each determiner stands before each kind of noun.
_KIN = ((75, "possessive"), (25, "name"))
_SOCIAL = ((40, "definite"), (25, "possessive"), (15, "indefinite"), (8, "demonstrative"), (6, "count"), (6, "name"))
_PERSONAL = ((55, "possessive"), (20, "indefinite"), (15, "name"), (10, "count"))
_PUBLIC = ((50, "definite"), (23, "indefinite"), (12, "demonstrative"), (9, "count"), (6, "bare"))
_OWNED = (
    *((36, "definite"), (28, "indefinite"), (13, "possessive"), (7, "demonstrative")),
    *((6, "count"), (7, "bare"), (3, "name"), (7, "owner")),
)
_FOOD = ((38, "definite"), (32, "indefinite"), (10, "possessive"), (5, "demonstrative"), (7, "count"), (8, "bare"))
_MASS = ((40, "definite"), (48, "bare"), (12, "possessive"))
_UNIQUE = ((1, "definite"),)
_OWNABLE = ("pet", "thing", "text", "art", "mail")
# Determiners that fit a context: "any" in a plain object, "known" for subjects of negated clauses and of questions, ...
_ALLOWED = {
    "any": ("definite", "indefinite", "possessive", "demonstrative", "count", "bare", "name", "owner"),
    "known": ("definite", "possessive", "demonstrative", "name", "owner"),
    "subject": ("definite", "indefinite", "possessive", "demonstrative", "count", "name", "owner"),
    "shown": ("definite", "demonstrative"),
    "uncounted": ("definite", "indefinite", "possessive", "demonstrative", "bare", "name", "owner"),
    "generic": ("definite", "possessive", "demonstrative", "bare", "name", "owner"),
    "new": ("definite", "indefinite", "demonstrative", "count", "bare"),
    "new uncounted": ("definite", "indefinite", "demonstrative", "bare"),
    "own": ("definite", "indefinite", "own"),
    "own uncounted": ("definite", "indefinite", "own"),
    "indefinite": ("indefinite", "count"),
    "indefinite uncounted": ("indefinite",),
}
_UNGRADABLE = frozenset(
    ["black", "white", "brown", "red", "blue", "green", "yellow", "delicious", "new", "empty", "full", "broken"]
)


def _determiners(noun: Noun) -> tuple[tuple[int, str], ...]:
    if noun.is_mass:
        return _UNIQUE if "weather" in noun.tags else _MASS
    for tag, kinds in (
        ("kin", _KIN),
        ("personal", _PERSONAL),
        ("social", _SOCIAL),
        ("person", _PUBLIC),
        ("food", _FOOD),
        ("place", _UNIQUE),
        ("event", _UNIQUE),
    ):
        if tag in noun.tags:
            return kinds
    return _PUBLIC if noun.tags.isdisjoint(_OWNABLE) else _OWNED


@cache
def _fitting(noun: Noun, context: str) -> Weights[str] | None:
    """Return the determiners for the noun in the context; None where there are none ("has a mother")."""
    allowed = _ALLOWED[context]
    table = _determiners(noun)
    if context.startswith("indefinite") and "kin" in noun.tags:
        table = () if "only" in noun.tags else _SOCIAL
    if context.startswith("own"):
        table = tuple((weight, "own" if kind == "possessive" else kind) for weight, kind in table)
    kinds = [(weight, kind) for weight, kind in table if kind in allowed]
    return Weights(kinds) if kinds else None


def pronoun_for(phrase: Phrase | None) -> Pronoun | None:
    """Return the pronoun that refers back to a person; None for animals, things and German neuters ("das Mädchen")."""
    if phrase is None or isinstance(phrase, Pronoun):
        return phrase
    if isinstance(phrase, Name):
        return SHE if phrase.gender == "f" else HE
    if "person" not in phrase.noun.tags:
        return None
    if phrase.plural:
        return THEY
    return {"m": HE, "f": SHE}.get(phrase.noun.gender)


def owns(person: Phrase | None, phrase: NounPhrase) -> bool:
    """Return whether the owner in a phrase is the person, where one would say "his": "Anna likes Anna's cat"."""
    if isinstance(person, Name):
        return phrase.determiner.english == person.text
    owner = phrase.possessor
    return isinstance(person, NounPhrase) and owner is not None and owner.noun is person.noun


class PhraseChooser:
    """Draw phrases."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng

    def noun_phrase(
        self,
        candidates: Sequence[Noun],
        context: str = "any",
        owner: Phrase | None = None,
        plain: bool = False,
    ) -> NounPhrase:
        """Return a phrase with one of the nouns. `owner` is the subject, whom possessives mostly mean.

        `plain` leaves out adjectives.
        """
        noun = self.rng.pick(candidates)
        while not (kinds := _fitting(noun, context)):
            noun = self.rng.pick(candidates)
        return self.phrase_of(noun, self.rng.weighted(kinds), owner, plain)

    def phrase_of(self, noun: Noun, kind: str, owner: Phrase | None = None, plain: bool = False) -> NounPhrase:
        """Return a phrase of the noun with a determiner of the kind; "owner" stands for "the neighbor's ..."."""
        possessor = None
        if kind == "owner":
            owners = ("adult",) if self.rng.chance(0.8) else ("minor",)
            possessor = self.noun_phrase(nouns_tagged(*owners), "known", plain=True)
            possessor = NounPhrase(possessor.noun, _DEFINITE, possessor.plural)
        adjectives = () if plain or not self.rng.chance(0.35) else adjectives_for(noun)
        adjective = self.rng.pick(adjectives) if adjectives else None
        very = adjective is not None and self._is_very(adjective)
        determiner = self._determiner(kind, owner)
        return NounPhrase(noun, determiner, self._is_plural(noun, kind), adjective, very, possessor)

    def _is_very(self, adjective: Adjective) -> bool:
        return adjective.english not in _UNGRADABLE and self.rng.chance(0.15)

    def graded(self, adjective: Adjective) -> Pair:
        """Return the adjective as a predicate in both languages, with or without "very"."""
        if self._is_very(adjective):
            return f"very {adjective.english}", f"sehr {adjective.german}"
        return adjective.english, adjective.german

    def _is_plural(self, noun: Noun, kind: str) -> bool:
        if noun.is_mass or kind == "indefinite":
            return False
        if kind in ("count", "bare"):
            return True
        return noun.tags.isdisjoint(("only", "place", "event", "weather")) and self.rng.chance(0.3)

    def _determiner(self, kind: str, owner: Phrase | None) -> Determiner:
        if kind == "owner":
            return _DEFINITE
        if kind == "count":
            return Determiner(kind, *self.rng.pick(COUNTS))
        if kind == "name":
            name = self.rng.pick(NAMES)
            return Determiner(kind, name.text, name.text)
        mine = pronoun_for(owner)
        if kind == "own" and mine is None:
            return _DEFINITE
        if kind in ("own", "possessive"):
            is_own = mine is not None and (kind == "own" or self.rng.chance(0.6))
            pronoun = mine if mine and is_own else self.rng.pick(PRONOUNS)
            kind = "possessive"
            return Determiner(kind, pronoun.possessive_english, pronoun.possessive_german)
        return Determiner(kind)

    def subject(self, tags: tuple[str, ...], context: str = "subject", plain: bool = False) -> Phrase:
        """Return a subject: for persons also a pronoun or a name. `plain` leaves out adjectives."""
        if any(tag in ("person", "adult") for tag in tags):
            if self.rng.chance(0.28):
                return self.rng.pick(PRONOUNS)
            if self.rng.chance(0.15):
                return self.rng.pick(NAMES)
        return self.noun_phrase(nouns_tagged(*tags), context, plain=plain)

    def person(self, subject: Phrase, context: str, pronouns: float) -> Phrase:
        """Return a person other than the subject, as object: a pronoun with the probability, or a name, or a noun."""
        if self.rng.chance(pronouns):
            return self.rng.pick(self._others(subject))
        if self.rng.chance(0.1):
            return self.rng.pick([name for name in NAMES if name is not subject])
        while True:
            phrase = self.noun_phrase(nouns_tagged("person"), context, owner=subject)
            is_subject = isinstance(subject, NounPhrase) and phrase.noun is subject.noun
            if not is_subject and not owns(subject, phrase):
                return phrase

    def _others(self, subject: Phrase) -> list[Pronoun]:
        """Return the pronouns that cannot mean the subject, or a group with the subject in it."""
        mine = pronoun_for(subject)
        with_me = ("I", "we") if mine and mine.english in ("I", "we") else ()
        return [pronoun for pronoun in PRONOUNS if pronoun is not mine and pronoun.english not in with_me]
