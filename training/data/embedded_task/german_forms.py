"""Inflect German: articles, noun cases, adjective endings, verb forms, contractions.

Cases are "nom", "acc", "dat", "gen"; genders "m", "f", "n" and "p" for every plural. Persons are 0 ich, 1 du,
2 er/sie/es, 3 wir/sie.
"""

from __future__ import annotations

from .words import Adjective, Noun, Verb

_CASES = ("nom", "acc", "dat", "gen")


def _table(**rows: str) -> dict[tuple[str, str], str]:
    """Return {(case, gender): form} from one row of nom, acc, dat, gen per gender; "-" is no ending."""
    return {
        (case, gender): form.replace("-", "")
        for gender, row in rows.items()
        for case, form in zip(_CASES, row.split(), strict=True)
    }


def _forms(**rows: str) -> dict[str, tuple[str, ...]]:
    return {infinitive: tuple(row.split()) for infinitive, row in rows.items()}


DEFINITE_ARTICLE = _table(m="der den dem des", f="die die der der", n="das das dem des", p="die die den der")
RELATIVE_PRONOUN = _table(
    m="der den dem dessen", f="die die der deren", n="das das dem dessen", p="die die denen deren"
)
# ein, kein, mein ... and dieser, welcher ...
EIN_ENDING = _table(m="- en em es", f="e e er er", n="- - em es", p="e e en er")
DIESER_ENDING = _table(m="er en em es", f="e e er er", n="es es em es", p="e e en er")
# adjectives after der/dieser (weak), after ein/kein/mein (mixed) and after no article (strong)
ADJECTIVE_ENDING = {
    "weak": _table(m="e en en en", f="e e en en", n="e e en en", p="en en en en"),
    "mixed": _table(m="er en en en", f="e e en en", n="es es en en", p="en en en en"),
    "strong": _table(m="er en em en", f="e e er er", n="es es em en", p="e e en er"),
}
_CONTRACTIONS = {
    ("in", "dem"): "im",
    ("in", "das"): "ins",
    ("an", "dem"): "am",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("von", "dem"): "vom",
}
_PRESENT = _forms(
    sein="bin bist ist sind",
    haben="habe hast hat haben",
    werden="werde wirst wird werden",
    wissen="weiß weißt weiß wissen",
    mögen="mag magst mag mögen",
    können="kann kannst kann können",
    sollen="sollte solltest sollte sollten",
    wollen="will willst will wollen",
    müssen="muss musst muss müssen",
    möchten="möchte möchtest möchte möchten",
)
# These verbs have their past in the preterite, every other verb in the perfect.
_PRETERITE = _forms(
    sein="war warst war waren",
    haben="hatte hattest hatte hatten",
    wissen="wusste wusstest wusste wussten",
    mögen="mochte mochtest mochte mochten",
    kennen="kannte kanntest kannte kannten",
    wollen="wollte wolltest wollte wollten",
    müssen="musste musstest musste mussten",
)


def noun_form(noun: Noun, case: str, plural: bool) -> str:
    """Return the noun in a case: genitive -s/-es, the -n of the dative plural, the -n/-en of weak nouns."""
    if plural:
        return noun.german_plural + ("n" if case == "dat" and noun.german_plural[-1] not in "ns" else "")
    if noun.is_weak:
        return noun.german + (noun.genitive if case != "nom" else "")
    return noun.german + (noun.genitive if case == "gen" else "")


def adjective_form(adjective: Adjective, declension: str, case: str, gender: str) -> str:
    """Return the adjective before a noun; `declension` is weak, mixed or strong."""
    return adjective.stem + ADJECTIVE_ENDING[declension][case, gender]


def with_preposition(preposition: str, phrase: str) -> str:
    """Return preposition and phrase, contracted if German contracts them: in + dem -> im."""
    first, _, rest = phrase.partition(" ")
    contracted = _CONTRACTIONS.get((preposition, first))
    return f"{contracted} {rest}" if contracted else f"{preposition} {phrase}"


def auxiliary_form(infinitive: str, person: int, past: bool = False) -> str:
    """Return a form of sein, haben, werden or a modal verb."""
    return (_PRETERITE if past else _PRESENT)[infinitive][person]


def has_preterite(verb: Verb) -> bool:
    """Return whether the past of the verb is the preterite ("kannte") rather than the perfect ("hat gekauft")."""
    return verb.infinitive in _PRETERITE


def present_form(verb: Verb, person: int) -> str:
    """Return the present without a separable prefix: "lädst" of einladen."""
    if verb.infinitive in _PRESENT:
        return auxiliary_form(verb.infinitive, person)
    if person == 0:
        return (verb.infinitive[:-2] if verb.infinitive.endswith("en") else verb.infinitive[:-1]) + "e"
    if person == 1:
        stem = verb.third[:-1]
        return stem + ("t" if stem[-1] in "sßz" else "st")
    return verb.third if person == 2 else verb.infinitive
