"""Draw random clauses that make sense: complements, tenses, times and places that fit a verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from .choose_phrases import PhraseChooser, owns
from .german import is_indefinite, person_of
from .lexicon_modifiers import (
    ADVERBIALS,
    AFTER,
    BECAUSE_OF,
    BEFORE,
    DESPITE,
    DURING,
    FOR,
    FREQUENCIES,
    NEXT_TO,
    ON,
    PLACES,
    UNDER,
    WITH,
    WITHOUT,
)
from .lexicon_nouns import nouns_tagged
from .lexicon_verbs import DATIVE, INTRANSITIVE, MODALS, MOTION, PREPOSITIONAL, PUTTING, STAYING, TRANSITIVE
from .phrases import Clause, NounPhrase, Phrase, PrepositionalPhrase
from .rng import Rng, Weights
from .words import Adverbial, Place, Preposition, Pronoun, Verb

_TENSES = {
    "doing": ((36, "present"), (14, "habit"), (32, "past"), (18, "future")),
    "state": ((75, "present"), (25, "past")),
    "event": ((1, "past"),),
}
_GROUPS: Weights[Sequence[Verb]] = Weights(
    [
        *((50, TRANSITIVE), (18, DATIVE), (8, PREPOSITIONAL), (10, INTRANSITIVE)),
        *((7, MOTION), (4, STAYING), (3, PUTTING)),
    ]
)
_ALONG = frozenset(["eat", "drink", "dance", "shop", "go", "travel", "swim", "work", "play", "stay"])


_AVOIDED = ("effort", "leisure", "shop", "smoke")  # activities that people may avoid on Sundays
_SUNDAYS = next(time for time in ADVERBIALS if time.german == "sonntags")


def _plans(subject: Phrase, verb: Verb) -> bool:
    """Return whether one can plan, want or be asked to do this: not for animals, nor for laughing."""
    return verb.aspect == "doing" and not _is_animal(subject) and "unplanned" not in verb.activities


def _is_animal(subject: Phrase) -> bool:
    return isinstance(subject, NounPhrase) and "animal" in subject.noun.tags


def _is_up_to_the_weather(clause: Clause) -> bool:
    """Return whether rain can be a reason: for staying indoors or for not going out."""
    is_outside = clause.goal is not None and (
        isinstance(clause.goal.phrase, NounPhrase) and "outside" in clause.goal.phrase.noun.tags
    )
    return "outdoor" in clause.verb.activities or ("stay" in clause.verb.activities and not is_outside)


@cache
def _places(verb: Verb) -> tuple[Place, ...]:
    return tuple(place for place in PLACES if not place.activities.isdisjoint(verb.activities))


@cache
def _share_of_people(tags: tuple[str, ...]) -> float:
    nouns = nouns_tagged(*tags)
    return sum("person" in noun.tags for noun in nouns) / len(nouns)


@dataclass(frozen=True)
class Limits:
    """Limits from the sentence around a clause: its tenses, negation, whether a time may come first."""

    tenses: tuple[str, ...] = ("present", "habit", "past", "future")
    negated: bool = False
    can_front: bool = False
    can_time: bool = True
    modals: float = 0.25
    subject: str = "subject"


@cache
def _tenses(verb: Verb, limits: Limits, plans: bool) -> Weights[str]:
    """Return the tenses for a verb. A negated habit needs a time in front: "On Sundays he does not work"."""
    has_habit = not limits.negated or (limits.can_front and not verb.activities.isdisjoint(_AVOIDED))
    choices = [
        (weight, tense)
        for weight, tense in _TENSES[verb.aspect]
        if tense in limits.tenses and (tense != "future" or plans) and (tense != "habit" or has_habit)
    ]
    return Weights(choices or [(1, limits.tenses[0])])


class ClauseChooser:
    """Draw clauses."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.phrases = PhraseChooser(rng)

    def verb(self) -> Verb:
        """Return a verb of any group, belonging ("gehören") included."""
        return self.rng.pick(self.rng.weighted(_GROUPS))

    def clause(self, verb: Verb, limits: Limits, subject: Phrase | None = None) -> Clause:
        """Return a clause with the verb and all its complements, within the limits."""
        context = "known" if limits.negated or verb.aspect == "state" else limits.subject
        subject = subject or self.phrases.subject(verb.subject, context)
        tense = self._tense(verb, subject, limits)
        clause = Clause(subject, verb, tense, negated=limits.negated)
        plans = tense in ("present", "past") and _plans(subject, verb)
        if plans and self.rng.chance(limits.modals):
            modals = [modal for modal in MODALS if modal.has_past or tense == "present"]
            clause = replace(clause, modal=self.rng.pick(modals))
        clause = self._with_objects(clause)
        if not clause.negated:
            clause = self._with_setting(clause)
        return self._with_time(clause, limits)

    def _tense(self, verb: Verb, subject: Phrase, limits: Limits) -> str:
        choices = _tenses(verb, limits, _plans(subject, verb))
        return self.rng.weighted(choices)

    def _with_objects(self, clause: Clause) -> Clause:
        verb, subject = clause.verb, clause.subject
        if verb.dative:
            context = "known" if clause.negated else "subject"
            person = self.phrases.person(subject, context, pronouns=0.35)
            clause = replace(clause, dative=person)
        if verb.accusative:
            clause = replace(clause, accusative=self._accusative(clause))
        if verb.preposition:
            goal = self._object(clause, verb.prepositional, "known" if clause.negated else "any")
            clause = replace(clause, goal=PrepositionalPhrase(verb.preposition, goal))
        if verb in MOTION or verb in STAYING:
            clause = replace(clause, goal=self._goal(verb))
        if verb in PUTTING:
            clause = replace(clause, goal=self.beside("surface", "acc", (ON, NEXT_TO, UNDER)))
        return clause

    def _accusative(self, clause: Clause) -> Phrase:
        verb = clause.verb
        is_uncounted = clause.negated or clause.tense == "habit"
        context = "uncounted" if is_uncounted else "any"
        for activity in ("own", "new"):
            if activity in verb.activities:
                context = f"{activity} uncounted" if is_uncounted else activity
        if "known" in verb.activities:
            context = "known"
        elif "certain" in verb.activities and not is_uncounted:
            context = "subject"
        elif "generic" in verb.activities:
            context = "generic"
        elif "indefinite" in verb.activities:
            context = "indefinite uncounted" if is_uncounted else "indefinite"
        phrase = self._object(clause, verb.accusative, context)
        if "own" in verb.activities and isinstance(phrase, NounPhrase) and not is_indefinite(phrase):
            return replace(phrase, plural=person_of(clause.subject) == 3)  # each wears one coat
        return phrase

    def _object(self, clause: Clause, tags: tuple[str, ...], context: str) -> Phrase:
        if "person" in tags and self.rng.chance(_share_of_people(tags)):
            return self.phrases.person(clause.subject, context, pronouns=0.3)
        candidates = nouns_tagged(*(tuple(tag for tag in tags if tag != "person") or tags))
        while True:
            phrase = self.phrases.noun_phrase(candidates, context, owner=clause.subject)
            if not any(owns(person, phrase) for person in (clause.subject, clause.dative)):
                return phrase

    def beside(self, tag: str, case: str, prepositions: tuple[Preposition, ...]) -> PrepositionalPhrase:
        """Return a two-way preposition with a piece of furniture: accusative for motion, dative for position."""
        two_way = self.rng.pick(prepositions)
        phrase = self.phrases.phrase_of(self.rng.pick(nouns_tagged(tag)), "definite", plain=True)
        phrase = replace(phrase, plural=False)
        return PrepositionalPhrase(Preposition(two_way.english, two_way.german, case), phrase)

    def _goal(self, verb: Verb) -> PrepositionalPhrase:
        place = self.rng.pick(_places(verb))
        return self._at(place, place.direction if verb in MOTION else place.location)

    def _at(self, place: Place, preposition: Preposition) -> PrepositionalPhrase:
        if place.noun is None:
            return PrepositionalPhrase(preposition, None)
        return PrepositionalPhrase(preposition, self.phrases.phrase_of(place.noun, "definite"))

    def _with_setting(self, clause: Clause) -> Clause:
        """Return the clause, perhaps with a place, a companion or a beneficiary."""
        verb = clause.verb
        if clause.dative or verb.aspect != "doing" or not self.rng.chance(0.4):
            return clause
        is_animal = _is_animal(clause.subject)
        places = [place for place in _places(verb) if not is_animal or "animal" in place.activities]
        options: list[Preposition] = []
        if "gift" in verb.activities:
            options.append(FOR)
        if not is_animal and verb.preposition is None and not verb.activities.isdisjoint(_ALONG):
            options += [WITH, WITH, WITHOUT]
        if places and clause.goal is None and (not options or self.rng.chance(0.6)):
            place = self.rng.pick(places)
            return replace(clause, setting=self._at(place, place.location))
        if not options:
            return clause
        preposition = self.rng.pick(options)
        person = self.phrases.person(clause.subject, "known", pronouns=0.25)
        return replace(clause, setting=PrepositionalPhrase(preposition, person))

    def _with_time(self, clause: Clause, limits: Limits) -> Clause:
        """Return the clause, perhaps with a time. A habit always has one; a negated clause only in front."""
        is_habit = clause.tense == "habit"
        if is_habit and not clause.negated and self.rng.chance(0.5):
            return replace(clause, frequency=self.rng.pick(FREQUENCIES))
        if not limits.can_time or clause.verb.aspect == "state" or (clause.negated and not limits.can_front):
            return clause
        if not is_habit and not self.rng.chance(0.5):
            return self._with_setting_first(clause, limits)
        time = self._time(clause)
        return replace(clause, time=time, time_first=limits.can_front and (clause.negated or self.rng.chance(0.4)))

    def _with_setting_first(self, clause: Clause, limits: Limits) -> Clause:
        is_place = clause.setting is not None and clause.setting.preposition not in (WITH, WITHOUT, FOR)
        if not is_place or not limits.can_front or isinstance(clause.subject, Pronoun):
            return clause
        return replace(clause, time_first=self.rng.chance(0.25))

    def _time(self, clause: Clause) -> Adverbial | PrepositionalPhrase:
        activities = clause.verb.activities
        occasion = self.rng.chance(0.25) and clause.tense in ("past", "future")
        if occasion and not clause.negated and "brief" in activities:
            return self._occasion((DURING, AFTER, BEFORE), "event")
        if (
            _is_up_to_the_weather(clause)
            and clause.modal is None
            and clause.tense in ("past", "present")
            and self.rng.chance(0.4)
        ):
            stays = "stay" in activities
            return self._occasion((BECAUSE_OF if clause.negated != stays else DESPITE,), "weather")
        mode = "modal" if clause.modal and clause.tense == "present" else clause.tense
        if clause.negated and mode == "habit":
            return _SUNDAYS
        excluded = "long" if "short" in activities else ""
        return self.rng.pick([time for time in ADVERBIALS if mode in time.tenses and excluded not in time.tenses])

    def _occasion(self, prepositions: tuple[Preposition, ...], tag: str) -> PrepositionalPhrase:
        noun = self.rng.pick(nouns_tagged(tag))
        return PrepositionalPhrase(self.rng.pick(prepositions), self.phrases.phrase_of(noun, "definite"))
