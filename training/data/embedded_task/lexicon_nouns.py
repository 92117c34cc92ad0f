"""List the nouns: English singular and plural, German singular and plural, gender, genitive ending, meanings.

Rows are grouped by meaning. A genitive ending "n" or "en" marks the weak declension; "-" means no ending or no
plural.
"""

from __future__ import annotations

from functools import cache

from .words import Noun

_PEOPLE = """
man         | men          | Mann             | Männer             | m es | person adult public
woman       | women        | Frau             | Frauen             | f -  | person adult public
boy         | boys         | Junge            | Jungen             | m n  | person minor public
girl        | girls        | Mädchen          | Mädchen            | n s  | person minor public
child       | children     | Kind             | Kinder             | n es | person minor public
teacher     | teachers     | Lehrer           | Lehrer             | m s  | person adult social
student     | students     | Student          | Studenten          | m en | person adult public
doctor      | doctors      | Arzt             | Ärzte              | m es | person adult social
nurse       | nurses       | Krankenschwester | Krankenschwestern  | f -  | person adult public
neighbor    | neighbors    | Nachbar          | Nachbarn           | m n  | person adult social
friend      | friends      | Freund           | Freunde            | m es | person personal
guest       | guests       | Gast             | Gäste              | m es | person social
customer    | customers    | Kunde            | Kunden             | m n  | person adult public
colleague   | colleagues   | Kollege          | Kollegen           | m n  | person adult social
farmer      | farmers      | Bauer            | Bauern             | m n  | person adult public
policeman   | policemen    | Polizist         | Polizisten         | m en | person adult public
tourist     | tourists     | Tourist          | Touristen          | m en | person adult public
baker       | bakers       | Bäcker           | Bäcker             | m s  | person adult public
waitress    | waitresses   | Kellnerin        | Kellnerinnen       | f -  | person adult public
actress     | actresses    | Schauspielerin   | Schauspielerinnen  | f -  | person adult public celebrity
queen       | queens       | Königin          | Königinnen         | f -  | person adult public
king        | kings        | König            | Könige             | m s  | person adult public
artist      | artists      | Künstler         | Künstler           | m s  | person adult public celebrity
brother     | brothers     | Bruder           | Brüder             | m s  | person kin
sister      | sisters      | Schwester        | Schwestern         | f -  | person kin
mother      | mothers      | Mutter           | Mütter             | f -  | person kin only
father      | fathers      | Vater            | Väter              | m s  | person kin only
daughter    | daughters    | Tochter          | Töchter            | f -  | person kin
son         | sons         | Sohn             | Söhne              | m es | person kin
uncle       | uncles       | Onkel            | Onkel              | m s  | person kin elder
aunt        | aunts        | Tante            | Tanten             | f -  | person kin elder
grandmother | grandmothers | Großmutter       | Großmütter         | f -  | person kin only elder
grandfather | grandfathers | Großvater        | Großväter          | m s  | person kin only elder
"""

_ANIMALS = """
dog      | dogs      | Hund      | Hunde     | m es | animal pet sitter lying eater
cat      | cats      | Katze     | Katzen    | f -  | animal pet sitter lying eater
horse    | horses    | Pferd     | Pferde    | n es | animal pet fruiteater
bird     | birds     | Vogel     | Vögel     | m s  | animal pet sitter
rabbit   | rabbits   | Kaninchen | Kaninchen | n s  | animal pet sitter fruiteater
mouse    | mice      | Maus      | Mäuse     | f -  | animal sitter
cow      | cows      | Kuh       | Kühe      | f -  | animal farm
pig      | pigs      | Schwein   | Schweine  | n es | animal farm fruiteater
duck     | ducks     | Ente      | Enten     | f -  | animal farm
bear     | bears     | Bär       | Bären     | m en | animal wild fruiteater
lion     | lions     | Löwe      | Löwen     | m n  | animal wild
monkey   | monkeys   | Affe      | Affen     | m n  | animal wild fruiteater
elephant | elephants | Elefant   | Elefanten | m en | animal wild fruiteater
"""

_FOOD = """
apple    | apples   | Apfel     | Äpfel      | m s  | food fruit
banana   | bananas  | Banane    | Bananen    | f -  | food fruit
pear     | pears    | Birne     | Birnen     | f -  | food fruit
orange   | oranges  | Orange    | Orangen    | f -  | food fruit
tomato   | tomatoes | Tomate    | Tomaten    | f -  | food fruit
carrot   | carrots  | Karotte   | Karotten   | f -  | food vegetable
potato   | potatoes | Kartoffel | Kartoffeln | f -  | food vegetable cookable
egg      | eggs     | Ei        | Eier       | n s  | food cookable
cake     | cakes    | Kuchen    | Kuchen     | m s  | food baked
cookie   | cookies  | Keks      | Kekse      | m es | food baked
pizza    | pizzas   | Pizza     | Pizzen     | f -  | food baked warm
sausage  | sausages | Wurst     | Würste     | f -  | food warm meaty
roll     | rolls    | Brötchen  | Brötchen   | n s  | food baked
soup     | -        | Suppe     | -          | f -  | food cookable warm
bread    | -        | Brot      | -          | n es | food baked
cheese   | -        | Käse      | -          | m s  | food
meat     | -        | Fleisch   | -          | n es | food cookable meaty
rice     | -        | Reis      | -          | m es | food cookable
milk     | -        | Milch     | -          | f -  | drink
water    | -        | Wasser    | -          | n s  | drink
coffee   | -        | Kaffee    | -          | m s  | drink
tea      | -        | Tee       | -          | m s  | drink
juice    | -        | Saft      | -          | m es | drink
wine     | -        | Wein      | -          | m es | drink
beer     | -        | Bier      | -          | n es | drink
"""

_TEXTS = """
book      | books      | Buch        | Bücher        | n es | text gift flat written priced
novel     | novels     | Roman       | Romane        | m s  | text gift written story priced
newspaper | newspapers | Zeitung     | Zeitungen     | f -  | text flat gift
magazine  | magazines  | Zeitschrift | Zeitschriften | f -  | text flat gift priced
letter    | letters    | Brief       | Briefe        | m es | text flat written mail
message   | messages   | Nachricht   | Nachrichten   | f -  | text written mail
story     | stories    | Geschichte  | Geschichten   | f -  | text written told story
poem      | poems      | Gedicht     | Gedichte      | n es | text written story
film      | films      | Film        | Filme         | m es | watched story event
song      | songs      | Lied        | Lieder        | n es | heard
problem   | problems   | Problem     | Probleme      | n s  | topic
question  | questions  | Frage       | Fragen        | f -  | topic
idea      | ideas      | Idee        | Ideen         | f -  | topic
"""

_THINGS = """
car       | cars      | Auto         | Autos         | n s  | thing vehicle
bicycle   | bicycles  | Fahrrad      | Fahrräder     | n es | thing vehicle
bus       | buses     | Bus          | Busse         | m es | ride
train     | trains    | Zug          | Züge          | m es | ride
ball      | balls     | Ball         | Bälle         | m es | thing flat gift lost
key       | keys      | Schlüssel    | Schlüssel     | m s  | thing flat lost
cup       | cups      | Tasse        | Tassen        | f -  | thing dish
bottle    | bottles   | Flasche      | Flaschen      | f -  | thing dish vessel
glass     | glasses   | Glas         | Gläser        | n es | thing dish vessel
plate     | plates    | Teller       | Teller        | m s  | thing dish
knife     | knives    | Messer       | Messer        | n s  | thing flat
spoon     | spoons    | Löffel       | Löffel        | m s  | thing flat
table     | tables    | Tisch        | Tische        | m es | thing furniture surface
chair     | chairs    | Stuhl        | Stühle        | m es | thing furniture surface priced
bed       | beds      | Bett         | Betten        | n es | thing furniture surface
lamp      | lamps     | Lampe        | Lampen        | f -  | thing furniture device priced
door      | doors     | Tür          | Türen         | f -  | opening
window    | windows   | Fenster      | Fenster       | n s  | opening
picture   | pictures  | Bild         | Bilder        | n es | thing gift art flat
phone     | phones    | Telefon      | Telefone      | n s  | thing device gift priced
computer  | computers | Computer     | Computer      | m s  | thing device gift
radio     | radios    | Radio        | Radios        | n s  | thing device priced
bag       | bags      | Tasche       | Taschen       | f -  | thing container lost
suitcase  | suitcases | Koffer       | Koffer        | m s  | thing container lost
camera    | cameras   | Kamera       | Kameras       | f -  | thing gift lost
umbrella  | umbrellas | Regenschirm  | Regenschirme  | m s  | thing lost
flower    | flowers   | Blume        | Blumen        | f -  | gift plant
tree      | trees     | Baum         | Bäume         | m es | plant
coat      | coats     | Mantel       | Mäntel        | m s  | thing clothes garment
jacket    | jackets   | Jacke        | Jacken        | f -  | thing clothes garment
scarf     | scarves   | Schal        | Schals        | m s  | thing clothes
shirt     | shirts    | Hemd         | Hemden        | n es | thing clothes garment
sweater   | sweaters  | Pullover     | Pullover      | m s  | thing clothes garment
hat       | hats      | Hut          | Hüte          | m es | thing clothes lost
"""

_PLACES = """
kitchen     | kitchens     | Küche       | Küchen         | f -  | place room
room        | rooms        | Zimmer      | Zimmer         | n s  | place room
garden      | gardens      | Garten      | Gärten         | m s  | place outside
park        | parks        | Park        | Parks          | m s  | place outside
house       | houses       | Haus        | Häuser         | n es | place building
city        | cities       | Stadt       | Städte         | f -  | place outside sight
village     | villages     | Dorf        | Dörfer         | n es | place outside sight
station     | stations     | Bahnhof     | Bahnhöfe       | m s  | place building
market      | markets      | Markt       | Märkte         | m es | place
supermarket | supermarkets | Supermarkt  | Supermärkte    | m es | place building
hotel       | hotels       | Hotel       | Hotels         | n s  | place building
restaurant  | restaurants  | Restaurant  | Restaurants    | n s  | place building
library     | libraries    | Bibliothek  | Bibliotheken   | f -  | place building
hospital    | hospitals    | Krankenhaus | Krankenhäuser  | n es | place building
museum      | museums      | Museum      | Museen         | n s  | place building sight
office      | offices      | Büro        | Büros          | n s  | place room
forest      | forests      | Wald        | Wälder         | m es | place outside
beach       | beaches      | Strand      | Strände        | m es | place outside
lake        | lakes        | See         | Seen           | m s  | place outside
"""

_ABSTRACT = """
rain    | -        | Regen   | -        | m s  | weather
snow    | -        | Schnee  | -        | m s  | weather
storm   | storms   | Sturm   | Stürme   | m es | weather
heat    | -        | Hitze   | -        | f -  | weather
break   | breaks   | Pause   | Pausen   | f -  | event
meal    | meals    | Essen   | Essen    | n s  | event
concert | concerts | Konzert | Konzerte | n es | event
trip    | trips    | Reise   | Reisen   | f -  | event
party   | parties  | Feier   | Feiern   | f -  | event
time    | -        | Zeit    | -        | f -  | resource
money   | -        | Geld    | -        | n es | resource
"""


def _read(table: str) -> tuple[Noun, ...]:
    nouns = []
    for row in table.strip().splitlines():
        cells = [cell.strip().replace("-", "") for cell in row.split("|")]
        english, english_plural, german, german_plural, inflection, tags = cells
        gender, _, genitive = inflection.partition(" ")
        meanings = frozenset(tags.split())
        nouns.append(Noun(english, english_plural, german, german_plural, gender, genitive, meanings))
    return tuple(nouns)


NOUNS = tuple(
    noun for table in (_PEOPLE, _ANIMALS, _FOOD, _TEXTS, _THINGS, _PLACES, _ABSTRACT) for noun in _read(table)
)
NOUN = {noun.english: noun for noun in NOUNS}


@cache
def nouns_tagged(*tags: str) -> tuple[Noun, ...]:
    """Return the nouns that have at least one of the tags, in dictionary order."""
    return tuple(noun for noun in NOUNS if not noun.tags.isdisjoint(tags))
