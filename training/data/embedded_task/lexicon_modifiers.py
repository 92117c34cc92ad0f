"""List the words that are neither nouns nor verbs: adjectives, pronouns, names, numbers, places, adverbials."""

from __future__ import annotations

from functools import cache

from .lexicon_nouns import NOUN
from .words import Adjective, Adverbial, Name, Noun, Place, Preposition, Pronoun

# English | German | stem before an ending, where it differs | meanings, or single nouns, it goes with
_ADJECTIVES = """
old         | alt         |       | adult animal vehicle furniture clothes text film song building sight camera
young       | jung        |       | adult animal
tall        | groß        |       | adult minor tree
friendly    | freundlich  |       | person dog horse
happy       | glücklich   |       | person
sad         | traurig     |       | person story song
tired       | müde        | müd   | person pet
sick        | krank       |       | person animal
hungry      | hungrig     |       | person animal
thirsty     | durstig     |       | person
nice        | nett        |       | person
lazy        | faul        |       | public pet kin
clever      | klug        |       | person dog monkey horse
famous      | berühmt     |       | celebrity kin book novel poem film song picture museum
rich        | reich       |       | adult kin personal
poor        | arm         |       | adult kin personal
big         | groß        |       | animal fruit vegetable furniture container outside room building dish bottle cake
small       | klein       |       | animal fruit vegetable furniture container outside room building dish bottle cake
black       | schwarz     |       | dog cat horse bird rabbit mouse cow clothes container vehicle umbrella
white       | weiß        |       | dog cat horse bird rabbit mouse cow clothes furniture vehicle flower plate cup
brown       | braun       |       | dog cat horse rabbit bear cow clothes container
red         | rot         |       | vehicle clothes container flower umbrella ball cup apple
blue        | blau        |       | vehicle clothes container flower umbrella ball cup
green       | grün        |       | vehicle clothes container umbrella ball cup apple bottle
yellow      | gelb        |       | vehicle clothes container flower umbrella ball cup
dangerous   | gefährlich  |       | wild
beautiful   | schön       |       | pet bird plant story song picture outside house museum hotel scarf jacket coat beach
new         | neu         |       | vehicle furniture clothes container device camera umbrella text film song ball
expensive   | teuer       | teur  | vehicle furniture clothes container device camera food drink hotel restaurant
cheap       | billig      |       | vehicle furniture clothes container device camera food drink hotel
good        | gut         |       | book novel story poem film song idea question drink baked cheese restaurant hotel
bad         | schlecht    |       | book novel poem film song idea restaurant hotel
long        | lang        |       | novel letter message story poem film song break concert trip
short       | kurz        |       | book letter message story poem film song break trip
interesting | interessant |       | text film question problem idea trip sight
boring      | langweilig  |       | text film concert party
funny       | lustig      |       | book message story poem film song
exciting    | spannend    |       | book novel story film trip concert
important   | wichtig     |       | mail topic book
difficult   | schwierig   |       | problem question
simple      | einfach     |       | problem question meal
fresh       | frisch      |       | fruit vegetable baked meat milk egg
sweet       | süß         |       | fruit cake cookie juice tea wine
delicious   | lecker      |       | food meal
hot         | heiß        |       | soup coffee tea milk
warm        | warm        |       | jacket coat sweater meal milk beer roll
cold        | kalt        |       | drink rain snow soup pizza
heavy       | schwer      |       | container furniture
empty       | leer        |       | container bottle glass cup room
full        | voll        |       | container bottle glass cup
dirty       | schmutzig   |       | dish knife spoon clothes room vehicle
broken      | kaputt      |       | vehicle furniture umbrella camera
modern      | modern      |       | building furniture device
quiet       | ruhig       |       | outside room library hotel restaurant
dark        | dunkel      | dunkl | room forest
strong      | stark       |       | adult horse lion bear storm coffee tea
"""


def _adjectives() -> tuple[Adjective, ...]:
    adjectives = []
    for row in _ADJECTIVES.strip().splitlines():
        english, german, stem, tags = (cell.strip() for cell in row.split("|"))
        adjectives.append(Adjective(english, german, stem or german, frozenset(tags.split())))
    return tuple(adjectives)


ADJECTIVES = _adjectives()


@cache
def adjectives_for(noun: Noun) -> tuple[Adjective, ...]:
    """Return the adjectives that make sense with the noun, in dictionary order."""
    return tuple(word for word in ADJECTIVES if not word.tags.isdisjoint(noun.tags) or noun.english in word.tags)


I = Pronoun("I", "me", "ich", "mich", "mir", "my", "mein", 0, ("am", "was"))  # noqa: E741 (the word itself)
YOU = Pronoun("you", "you", "du", "dich", "dir", "your", "dein", 1, ("are", "were"))
HE = Pronoun("he", "him", "er", "ihn", "ihm", "his", "sein", 2, ("is", "was"))
SHE = Pronoun("she", "her", "sie", "sie", "ihr", "her", "ihr", 2, ("is", "was"))
WE = Pronoun("we", "us", "wir", "uns", "uns", "our", "unser", 3, ("are", "were"))
THEY = Pronoun("they", "them", "sie", "sie", "ihnen", "their", "ihr", 3, ("are", "were"))
PRONOUNS = (I, YOU, HE, SHE, WE, THEY)

NAMES = (
    *(Name(text, "f") for text in ("Anna", "Maria", "Laura", "Julia", "Emma")),
    *(Name(text, "m") for text in ("Peter", "Paul", "Martin", "David", "Jonathan")),
)

_SMALL = "two zwei three drei four vier five fünf six sechs seven sieben eight acht nine neun ten zehn eleven elf"
_TEENS = (
    "twelve zwölf thirteen dreizehn fourteen vierzehn fifteen fünfzehn sixteen sechzehn seventeen siebzehn "
    "eighteen achtzehn nineteen neunzehn"
)
_TENS = "twenty zwanzig thirty dreißig forty vierzig fifty fünfzig sixty sechzig seventy siebzig eighty achtzig"


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    words = text.split()
    return tuple(zip(words[::2], words[1::2], strict=True))


def _compounds() -> tuple[tuple[str, str], ...]:
    units = (("one", "ein"), *_pairs(_SMALL)[:8])
    return tuple((f"{tens}-{unit}", f"{einer}und{zehner}") for tens, zehner in _pairs(_TENS) for unit, einer in units)


COUNTS = _pairs(_SMALL) + _pairs(_TEENS)[:1]
NUMBERS = _pairs(_SMALL) + _pairs(_TEENS) + _pairs(_TENS) + _compounds()

_IN = Preposition("in", "in", "dat")
_INTO = Preposition("into", "in", "acc")
_TO_IN = Preposition("to", "in", "acc")
_AT_IN = Preposition("at", "in", "dat")
_AT_AN = Preposition("at", "an", "dat")
_TO_ZU = Preposition("to", "zu", "dat")


def _place(english: str, location: Preposition, direction: Preposition, activities: str) -> Place:
    return Place(NOUN[english], location, direction, frozenset(activities.split()))


def _fixed(english: str, german: str, activities: str) -> Place:
    """Return a place without article; `english` and `german` give location and direction as "at home|home"."""
    (en_at, en_to), (de_at, de_to) = english.split("|"), german.split("|")
    return Place(None, Preposition(en_at, de_at, ""), Preposition(en_to, de_to, ""), frozenset(activities.split()))


PLACES = (
    _place("kitchen", _IN, _INTO, "eat drink read smoke go stay kitchen dance"),
    _place("garden", _IN, _INTO, "eat drink read smoke go stay play work sleep animal"),
    _place("park", _IN, _TO_IN, "eat read draw smoke go play meet dance park stay animal sleep"),
    _place("city", _IN, _TO_IN, "shop meet go drive travel work live arrive"),
    _place("village", _IN, _TO_IN, "live work go drive travel arrive stay shop"),
    _place("station", _AT_AN, _TO_ZU, "meet go drive fetch arrive smoke eat"),
    _place("market", Preposition("at", "auf", "dat"), _TO_ZU, "shop meet go drive work"),
    _place("supermarket", _AT_IN, _TO_IN, "shop meet go drive work"),
    _place("hotel", _IN, _TO_ZU, "sleep stay live work go drive arrive meet"),
    _place("restaurant", _IN, _TO_IN, "eat drink order meet go drive work"),
    _place("library", _IN, _TO_IN, "read go work meet drive"),
    _place("hospital", _IN, _TO_IN, "work go drive stay sleep"),
    _place("museum", _AT_IN, _TO_IN, "go drive meet work"),
    _place("office", _IN, _TO_IN, "work go drive eat drink sleep stay"),
    _place("forest", _IN, _INTO, "go play live sleep animal"),
    _place("beach", _AT_AN, _TO_ZU, "read draw go drive play swim meet sleep drink"),
    _place("lake", _AT_AN, _TO_ZU, "go drive play meet smoke read draw"),
    _fixed("at home|home", "zu Hause|nach Hause", "stay sleep eat drink work read go drive"),
    _fixed("at school|to school", "in der Schule|zur Schule", "go read meet"),
    _fixed("in Berlin|to Berlin", "in Berlin|nach Berlin", "live work shop travel fly stay meet arrive"),
    _fixed("in Vienna|to Vienna", "in Wien|nach Wien", "live work shop travel fly stay meet arrive"),
    _fixed("in Germany|to Germany", "in Deutschland|nach Deutschland", "live work travel fly stay"),
    _fixed("in Italy|to Italy", "in Italien|nach Italien", "live work travel fly stay"),
)

ON = Preposition("on", "auf", "")
UNDER = Preposition("under", "unter", "")
BEHIND = Preposition("behind", "hinter", "")
NEXT_TO = Preposition("next to", "neben", "")
IN_FRONT_OF = Preposition("in front of", "vor", "")

WITH = Preposition("with", "mit", "dat")
FOR = Preposition("for", "für", "acc")
WITHOUT = Preposition("without", "ohne", "acc")
BECAUSE_OF = Preposition("because of", "wegen", "gen")
DESPITE = Preposition("despite", "trotz", "gen")
DURING = Preposition("during", "während", "gen")
AFTER = Preposition("after", "nach", "dat")
BEFORE = Preposition("before", "vor", "dat")


def _adverbial(english: str, german: str, tenses: str) -> Adverbial:
    return Adverbial(english, german, frozenset(tenses.split()))


# "habit" is the simple present of an activity; "present" its progressive, or a modal verb in the present
ADVERBIALS = (
    _adverbial("now", "jetzt", "present"),
    _adverbial("today", "heute", "present modal future"),
    _adverbial("at the moment", "im Moment", "present"),
    _adverbial("every day", "jeden Tag", "habit"),
    _adverbial("every morning", "jeden Morgen", "habit"),
    _adverbial("every week", "jede Woche", "habit long"),
    _adverbial("on Sundays", "sonntags", "habit"),
    _adverbial("yesterday", "gestern", "past"),
    _adverbial("last week", "letzte Woche", "past long"),
    _adverbial("two days ago", "vor zwei Tagen", "past"),
    _adverbial("this morning", "heute Morgen", "past"),
    _adverbial("on Monday", "am Montag", "past future modal"),
    _adverbial("on Friday", "am Freitag", "past future modal"),
    _adverbial("in the evening", "am Abend", "past future"),
    _adverbial("tomorrow", "morgen", "future modal"),
    _adverbial("next week", "nächste Woche", "future modal long"),
    _adverbial("soon", "bald", "future"),
    _adverbial("tonight", "heute Abend", "future modal"),
)
# These stand before the verb in English, as in "she often reads".
FREQUENCIES = (
    _adverbial("often", "oft", "habit"),
    _adverbial("always", "immer", "habit"),
    _adverbial("sometimes", "manchmal", "habit"),
    _adverbial("rarely", "selten", "habit"),
)
