"""German and English forms, word order and clauses, against sentences written out by hand."""

from dataclasses import replace

import pytest

from sineformer.training.data.embedded_task.combinations import combinations
from sineformer.training.data.embedded_task.english import english_clause, english_phrase, english_question
from sineformer.training.data.embedded_task.german import german_phrase, german_prepositional, verb_final, verb_second
from sineformer.training.data.embedded_task.german_forms import noun_form, present_form
from sineformer.training.data.embedded_task.lexicon_modifiers import (
    ADJECTIVES,
    ADVERBIALS,
    FREQUENCIES,
    HE,
    NUMBERS,
    PLACES,
    SHE,
    THEY,
    YOU,
    I,
)
from sineformer.training.data.embedded_task.lexicon_nouns import NOUN
from sineformer.training.data.embedded_task.lexicon_verbs import BE, HAVE, MODALS, VERBS
from sineformer.training.data.embedded_task.phrases import (
    Clause,
    Determiner,
    NounPhrase,
    PrepositionalPhrase,
    RelativeClause,
    Sentence,
)
from sineformer.training.data.embedded_task.words import Name, Preposition

CASES = ("nom", "acc", "dat", "gen")
ADJECTIVE = {word.english: word for word in ADJECTIVES}
GERMAN_VERB = {verb.prefix + verb.infinitive: verb for verb in VERBS}
MODAL = {modal.german: modal for modal in MODALS}
TIME = {time.german: time for time in ADVERBIALS + FREQUENCIES}
DEFINITE, INDEFINITE, BARE = Determiner("definite"), Determiner("indefinite"), Determiner("bare")


def phrase(noun, determiner=DEFINITE, adjective=None, plural=False, **parts):
    return NounPhrase(NOUN[noun], determiner, plural, ADJECTIVE[adjective] if adjective else None, **parts)


def clause(subject, verb, tense="present", **parts):
    return Clause(subject, GERMAN_VERB[verb], tense, **parts)


def both(meaning):
    return english_clause(meaning), verb_second(meaning)


MAN, WOMAN, CHILD = phrase("man"), phrase("woman"), phrase("child")


@pytest.mark.parametrize(
    ("noun", "determiner", "adjective", "plural", "expected"),
    [
        ("man", DEFINITE, "old", False, "der alte Mann|den alten Mann|dem alten Mann|des alten Mannes"),
        ("woman", DEFINITE, "young", False, "die junge Frau|die junge Frau|der jungen Frau|der jungen Frau"),
        ("house", DEFINITE, "big", False, "das große Haus|das große Haus|dem großen Haus|des großen Hauses"),
        ("child", DEFINITE, "happy", True, "die glücklichen Kinder|die glücklichen Kinder|den glücklichen Kindern|"
         "der glücklichen Kinder"),
        ("dog", INDEFINITE, "small", False, "ein kleiner Hund|einen kleinen Hund|einem kleinen Hund|"
         "eines kleinen Hundes"),
        ("cat", INDEFINITE, "black", False, "eine schwarze Katze|eine schwarze Katze|einer schwarzen Katze|"
         "einer schwarzen Katze"),
        ("book", INDEFINITE, "new", False, "ein neues Buch|ein neues Buch|einem neuen Buch|eines neuen Buches"),
        ("wine", BARE, "cold", False, "kalter Wein|kalten Wein|kaltem Wein|kalten Weines"),
        ("milk", BARE, "fresh", False, "frische Milch|frische Milch|frischer Milch|frischer Milch"),
        ("water", BARE, "cold", False, "kaltes Wasser|kaltes Wasser|kaltem Wasser|kalten Wassers"),
        ("apple", BARE, "red", True, "rote Äpfel|rote Äpfel|roten Äpfeln|roter Äpfel"),
        ("key", Determiner("possessive", "my", "mein"), None, True, "meine Schlüssel|meine Schlüssel|"
         "meinen Schlüsseln|meiner Schlüssel"),
        ("car", Determiner("possessive", "our", "unser"), "expensive", False, "unser teures Auto|unser teures Auto|"
         "unserem teuren Auto|unseres teuren Autos"),
        ("boy", Determiner("demonstrative"), "lazy", False, "dieser faule Junge|diesen faulen Jungen|"
         "diesem faulen Jungen|dieses faulen Jungen"),
        ("student", INDEFINITE, "tired", False, "ein müder Student|einen müden Studenten|einem müden Studenten|"
         "eines müden Studenten"),
        ("neighbor", DEFINITE, None, False, "der Nachbar|den Nachbarn|dem Nachbarn|des Nachbarn"),
        ("room", INDEFINITE, "dark", False, "ein dunkles Zimmer|ein dunkles Zimmer|einem dunklen Zimmer|"
         "eines dunklen Zimmers"),
        ("book", Determiner("interrogative"), "good", False, "welches gute Buch|welches gute Buch|"
         "welchem guten Buch|welches guten Buches"),
        ("uncle", Determiner("name", "Anna", "Anna"), "tall", False, "Annas großer Onkel|Annas großen Onkel|"
         "Annas großem Onkel|Annas großen Onkels"),
        ("dog", Determiner("count", "two", "zwei"), "big", True, "zwei große Hunde|zwei große Hunde|"
         "zwei großen Hunden|zwei großer Hunde"),
    ],
)  # fmt: skip
def test_noun_phrases_decline_as_in_the_grammar_book(noun, determiner, adjective, plural, expected):
    meaning = phrase(noun, determiner, adjective, plural)
    assert "|".join(german_phrase(meaning, case) for case in CASES) == expected


def test_negated_indefinites_take_kein_with_its_endings():
    assert german_phrase(phrase("car", INDEFINITE, "big"), "acc", negated=True) == "kein großes Auto"
    assert german_phrase(phrase("apple", BARE, "red", plural=True), "acc", negated=True) == "keine roten Äpfel"
    assert german_phrase(phrase("coffee", BARE, "hot"), "acc", negated=True) == "keinen heißen Kaffee"


def test_the_dative_plural_adds_n_only_where_none_and_no_s_is():
    plurals = [noun_form(NOUN[noun], "dat", plural=True) for noun in ("dog", "woman", "car", "apple", "mother", "roll")]
    assert plurals == ["Hunden", "Frauen", "Autos", "Äpfeln", "Müttern", "Brötchen"]


@pytest.mark.parametrize(
    ("infinitive", "expected"),
    [
        ("lesen", "lese liest liest lesen"),
        ("essen", "esse isst isst essen"),
        ("fahren", "fahre fährst fährt fahren"),
        ("geben", "gebe gibst gibt geben"),
        ("arbeiten", "arbeite arbeitest arbeitet arbeiten"),
        ("einladen", "lade lädst lädt laden"),
        ("füttern", "füttere fütterst füttert füttern"),
        ("tanzen", "tanze tanzt tanzt tanzen"),
        ("zeichnen", "zeichne zeichnest zeichnet zeichnen"),
        ("haben", "habe hast hat haben"),
        ("sein", "bin bist ist sind"),
        ("wissen", "weiß weißt weiß wissen"),
        ("mögen", "mag magst mag mögen"),
        ("sitzen", "sitze sitzt sitzt sitzen"),
    ],
)
def test_verbs_conjugate_with_their_vowel_changes(infinitive, expected):
    assert " ".join(present_form(GERMAN_VERB[infinitive], person) for person in range(4)) == expected


BOOK = phrase("book")
PLACE = {place.noun.english: place for place in PLACES if place.noun}


def at(place):
    return PrepositionalPhrase(PLACE[place].location, phrase(place))


def to(place):
    return PrepositionalPhrase(PLACE[place].direction, phrase(place))


@pytest.mark.parametrize(
    ("meaning", "english", "german"),
    [
        (clause(MAN, "lesen", accusative=BOOK), "the man is reading the book", "der Mann liest das Buch"),
        (clause(SHE, "lesen", "habit", accusative=BOOK, frequency=TIME["oft"]), "she often reads the book",
         "sie liest oft das Buch"),
        (clause(SHE, "kennen", accusative=MAN), "she knows the man", "sie kennt den Mann"),
        (clause(SHE, "kennen", "past", accusative=MAN), "she knew the man", "sie kannte den Mann"),
        (clause(MAN, "kaufen", "past", accusative=BOOK, time=TIME["gestern"], time_first=True),
         "yesterday the man bought the book", "gestern hat der Mann das Buch gekauft"),
        (clause(HE, "gehen", "past", goal=to("station")), "he went to the station", "er ist zum Bahnhof gegangen"),
        (clause(I, "kaufen", "future", accusative=BOOK, time=TIME["morgen"]), "I will buy the book tomorrow",
         "ich werde morgen das Buch kaufen"),
        (clause(YOU, "anrufen", accusative=WOMAN), "you are calling the woman", "du rufst die Frau an"),
        (clause(YOU, "abholen", accusative=HE, time=TIME["jetzt"]), "you are picking him up now",
         "du holst ihn jetzt ab"),
        (clause(YOU, "abholen", "past", accusative=CHILD), "you picked up the child", "du hast das Kind abgeholt"),
        (clause(MAN, "einladen", accusative=SHE, modal=MODAL["wollen"]), "the man wants to invite her",
         "der Mann will sie einladen"),
        (clause(WOMAN, "helfen", dative=phrase("boy")), "the woman is helping the boy", "die Frau hilft dem Jungen"),
        (clause(WOMAN, "helfen", dative=THEY, negated=True), "the woman is not helping them",
         "die Frau hilft ihnen nicht"),
        (clause(WOMAN, "geben", dative=CHILD, accusative=phrase("apple", INDEFINITE)),
         "the woman is giving the child an apple", "die Frau gibt dem Kind einen Apfel"),
        (clause(HE, "erklären", "past", dative=CHILD, accusative=phrase("problem")),
         "he explained the problem to the child", "er hat dem Kind das Problem erklärt"),
        (clause(MAN, "warten", goal=PrepositionalPhrase(Preposition("for", "auf", "acc"), phrase("bus")),
                negated=True), "the man is not waiting for the bus", "der Mann wartet nicht auf den Bus"),
        (clause(MAN, "kaufen", "past", accusative=BOOK, negated=True), "the man did not buy the book",
         "der Mann hat das Buch nicht gekauft"),
        (clause(MAN, "kaufen", accusative=phrase("apple", BARE, plural=True), negated=True),
         "the man is not buying any apples", "der Mann kauft keine Äpfel"),
        (clause(SHE, "haben", accusative=phrase("egg", INDEFINITE), negated=True), "she does not have an egg",
         "sie hat kein Ei"),
        (clause(SHE, "aufmachen", accusative=phrase("door"), negated=True), "she is not opening the door",
         "sie macht die Tür nicht auf"),
        (clause(HE, "schlafen", negated=True, modal=MODAL["müssen"]), "he does not have to sleep",
         "er muss nicht schlafen"),
        (clause(HE, "schlafen", negated=True, modal=MODAL["können"]), "he cannot sleep", "er kann nicht schlafen"),
        (clause(WOMAN, "kaufen", accusative=phrase("cheese", BARE), setting=at("market")),
         "the woman is buying cheese at the market", "die Frau kauft auf dem Markt Käse"),
        (clause(WOMAN, "kaufen", accusative=phrase("cheese"), setting=at("market")),
         "the woman is buying the cheese at the market", "die Frau kauft den Käse auf dem Markt"),
        (clause(CHILD, "spielen", setting=at("garden"), time=TIME["heute"]), "the child is playing in the garden today",
         "das Kind spielt heute im Garten"),
        (clause(phrase("child", plural=True), "gehen", goal=to("restaurant")),
         "the children are going to the restaurant", "die Kinder gehen ins Restaurant"),
        (clause(phrase("dog"), "fressen", accusative=phrase("meat")), "the dog is eating the meat",
         "der Hund frisst das Fleisch"),
        (Clause(MAN, BE, "past", predicate=("tired", "müde"), negated=True), "the man was not tired",
         "der Mann war nicht müde"),
        (Clause(THEY, HAVE, "past", accusative=phrase("time", BARE), negated=True), "they did not have any time",
         "sie hatten keine Zeit"),
    ],
)  # fmt: skip
def test_main_clauses_have_the_right_forms_and_word_order(meaning, english, german):
    assert both(meaning) == (english, german)


def test_questions_invert_and_use_do():
    reads = clause(MAN, "lesen", accusative=BOOK)
    assert (english_question(reads), verb_second(reads, "?")) == (
        "is the man reading the book",
        "liest der Mann das Buch",
    )
    bought = replace(clause(MAN, "kaufen", "past"), accusative=BOOK)
    assert english_question(bought, "when") == "when did the man buy the book"
    assert verb_second(bought, "wann") == "wann hat der Mann das Buch gekauft"
    knows = clause(MAN, "kennen", accusative=SHE)
    assert english_question(knows) == "does the man know her"
    assert verb_second(clause(Name("who", "m"), "anrufen", accusative=MAN), "wer", "nom") == "wer ruft den Mann an"


def test_subordinate_clauses_end_with_the_verb():
    calls = clause(MAN, "anrufen", accusative=SHE)
    assert verb_final(calls) == "der Mann sie anruft"
    assert verb_final(replace(calls, tense="past")) == "der Mann sie angerufen hat"
    assert verb_final(replace(calls, modal=MODAL["wollen"])) == "der Mann sie anrufen will"
    assert verb_final(replace(calls, tense="future", negated=True)) == "der Mann sie nicht anrufen wird"


def test_relative_clauses_agree_with_their_noun_and_stand_between_commas():
    reads = RelativeClause(clause(WOMAN, "lesen", accusative=BOOK), "nom")
    woman = replace(WOMAN, relative=reads)
    assert english_phrase(woman) == "the woman who is reading the book"
    assert german_phrase(woman, "acc") == "die Frau, die das Buch liest,"
    apple = phrase("apple")
    bought = RelativeClause(clause(SHE, "kaufen", "past", accusative=apple), "acc")
    assert english_phrase(replace(apple, relative=bought)) == "the apple that she bought"
    assert german_phrase(replace(apple, relative=bought), "nom") == "der Apfel, den sie gekauft hat,"


def test_owners_stand_in_the_genitive():
    car = phrase("car", possessor=phrase("policeman"))
    assert (english_phrase(car), german_phrase(car, "acc")) == ("the policeman's car", "das Auto des Polizisten")
    dog = phrase("dog", possessor=phrase("child", plural=True))
    assert (english_phrase(dog), german_phrase(dog, "nom")) == ("the children's dog", "der Hund der Kinder")
    ball = phrase("ball", possessor=phrase("boy", plural=True))
    assert english_phrase(ball) == "the boys' ball"
    weather = PrepositionalPhrase(Preposition("because of", "wegen", "gen"), phrase("rain"))
    assert german_prepositional(weather) == "wegen des Regens"


def test_prepositions_contract_and_two_way_prepositions_tell_place_from_direction():
    assert [german_prepositional(at(place)) for place in ("garden", "kitchen", "station", "market")] == [
        "im Garten", "in der Küche", "am Bahnhof", "auf dem Markt",
    ]  # fmt: skip
    assert [german_prepositional(to(place)) for place in ("garden", "office", "station", "library")] == [
        "in den Garten", "ins Büro", "zum Bahnhof", "in die Bibliothek",
    ]  # fmt: skip


def test_the_english_article_fits_the_next_word():
    assert english_phrase(phrase("apple", INDEFINITE)) == "an apple"
    assert english_phrase(phrase("apple", INDEFINITE, "red")) == "a red apple"
    assert english_phrase(phrase("car", INDEFINITE, "old")) == "an old car"
    assert english_phrase(phrase("car", INDEFINITE, "old", very=True)) == "a very old car"


def test_numbers_above_twenty_put_the_unit_first_in_german():
    numbers = dict(NUMBERS)
    assert numbers["twenty-one"] == "einundzwanzig"
    assert numbers["thirty-seven"] == "siebenunddreißig"
    assert numbers["eighty-six"] == "sechsundachtzig"
    assert (numbers["sixteen"], numbers["seventeen"], numbers["seventy"]) == ("sechzehn", "siebzehn", "siebzig")


def test_combinations_are_those_that_stand_in_the_sentence():
    old = replace(MAN, adjective=ADJECTIVE["old"])
    meaning = clause(old, "lesen", accusative=phrase("book", adjective="new"), setting=at("garden"))
    assert combinations(Sentence("", "", (meaning,))) == {
        ("subject", "lesen", "man"),
        ("object", "lesen", "book"),
        ("adjective", "old", "man"),
        ("adjective", "new", "book"),
    }
    tired = Clause(WOMAN, BE, "present", predicate=("very tired", "sehr müde"))
    assert ("adjective", "tired", "woman") in combinations(Sentence("", "", (tired,)))
