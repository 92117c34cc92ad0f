"""List the verbs and modal verbs: principal parts, frames and circumstances.

A row reads: English parts | German infinitive, third person, participle, auxiliary | aspect | frame. In English
"pick~up" can be split by a pronoun ("pick him up") and "look_for" cannot; in German "an+rufen" is separable. The frame
names the tags of the subject (`by`), of the accusative and dative objects, of the object of a preposition
(`prep=english:german:case:tags`), and the activities (`act`) that choose fitting places and circumstances.
"""

from __future__ import annotations

from .words import Modal, Preposition, Verb

_TRANSITIVE = """
eat eats ate eating | essen isst gegessen haben | doing | acc=food act=eat,brief,short
eat eats ate eating | fressen frisst gefressen haben | doing | by=fruiteater acc=fruit,vegetable act=short
eat eats ate eating | fressen frisst gefressen haben | doing | by=eater acc=meaty act=short
drink drinks drank drinking | trinken trinkt getrunken haben | doing | acc=drink act=drink,brief,short
read reads read reading | lesen liest gelesen haben | doing | acc=text act=read,leisure,brief
write writes wrote writing | schreiben schreibt geschrieben haben | doing | acc=written act=new,read,effort
buy buys bought buying | kaufen kauft gekauft haben | doing | acc=food,drink,thing,gift act=shop,gift
sell sells sold selling | verkaufen verkauft verkauft haben | doing | acc=vehicle,furniture,clothes,art
cook cooks cooked cooking | kochen kocht gekocht haben | doing | acc=cookable act=new,kitchen,effort,gift
bake bakes baked baking | backen backt gebacken haben | doing | acc=baked act=new,kitchen,effort,gift
order orders ordered ordering | bestellen bestellt bestellt haben | doing | acc=baked,warm,drink act=order,gift,short
find finds found finding | finden findet gefunden haben | event | acc=lost,pet,flat act=certain
lose loses lost losing | verlieren verliert verloren haben | event | acc=lost act=certain
forget forgets forgot forgetting | vergessen vergisst vergessen haben | event | acc=lost,topic act=certain
get gets got getting | bekommen bekommt bekommen haben | event | acc=mail,gift act=certain
see sees saw seeing | sehen sieht gesehen haben | state | acc=person,animal,plant,building act=park
hear hears heard hearing | hören hört gehört haben | state | acc=person,animal,heard act=certain
know knows knew knowing | kennen kennt gekannt haben | state | acc=person,heard,story,sight act=known
like likes liked liking | mögen mag gemocht haben | state | acc=person,animal,food,drink,clothes act=generic
love loves loved loving | lieben liebt geliebt haben | state | acc=person,animal,sight act=generic
need needs needed needing | brauchen braucht gebraucht haben | state | acc=thing,text,fruit,drink,clothes
have has had having | haben hat gehabt haben | state | acc=thing,pet,kin,topic act=indefinite
understand understands understood understanding | verstehen versteht verstanden haben | state | acc=topic,text act=known
visit visits visited visiting | besuchen besucht besucht haben | doing | acc=person,sight act=effort
ask asks asked asking | fragen fragt gefragt haben | doing | acc=person act=brief
meet meets met meeting | treffen trifft getroffen haben | doing | acc=person act=meet
call calls called calling | an+rufen ruft angerufen haben | doing | acc=person act=brief,effort
invite invites invited inviting | ein+laden lädt eingeladen haben | doing | acc=person
pick~up picks~up picked~up picking~up | ab+holen holt abgeholt haben | doing | acc=person act=fetch
look_for looks_for looked_for looking_for | suchen sucht gesucht haben | doing | acc=lost,person,pet act=certain,park
open opens opened opening | auf+machen macht aufgemacht haben | doing | acc=opening,container act=certain,short
close closes closed closing | zu+machen macht zugemacht haben | doing | acc=opening,container act=certain,short
wash washes washed washing | waschen wäscht gewaschen haben | doing | acc=clothes,vehicle,dish act=effort
clean cleans cleaned cleaning | putzen putzt geputzt haben | doing | acc=opening,room act=effort
tidy~up tidies~up tidied~up tidying~up | auf+räumen räumt aufgeräumt haben | doing | acc=room act=effort
wear wears wore wearing | tragen trägt getragen haben | doing | acc=clothes act=own,short
put~on puts~on put~on putting~on | an+ziehen zieht angezogen haben | doing | acc=garment act=own,short
take~off takes~off took~off taking~off | aus+ziehen zieht ausgezogen haben | doing | acc=garment act=own,short
turn~on turns~on turned~on turning~on | ein+schalten schaltet eingeschaltet haben | doing | acc=device act=certain
turn~off turns~off turned~off turning~off | aus+schalten schaltet ausgeschaltet haben | doing | acc=device act=certain
repair repairs repaired repairing | reparieren repariert repariert haben | doing | acc=vehicle,device act=certain,effort
throw~away throws~away threw~away throwing~away | weg+werfen wirft weggeworfen haben | doing | acc=mail,clothes
draw draws drew drawing | zeichnen zeichnet gezeichnet haben | doing | acc=animal,plant act=draw,leisure
feed feeds fed feeding | füttern füttert gefüttert haben | doing | acc=animal act=effort
sing sings sang singing | singen singt gesungen haben | doing | acc=heard act=leisure
"""

_DATIVE = """
help helps helped helping | helfen hilft geholfen haben | doing | dat=person act=effort,work
thank thanks thanked thanking | danken dankt gedankt haben | doing | dat=person
answer answers answered answering | antworten antwortet geantwortet haben | doing | dat=person
follow follows followed following | folgen folgt gefolgt sein | doing | dat=person,animal
trust trusts trusted trusting | vertrauen vertraut vertraut haben | state | dat=person
congratulate congratulates congratulated congratulating | gratulieren gratuliert gratuliert haben | doing | dat=person
listen_to listens_to listened_to listening_to | zu+hören hört zugehört haben | doing | dat=person
give gives gave giving | geben gibt gegeben haben | doing | dat=person acc=gift,dish,fruit,lost act=certain
show shows showed showing | zeigen zeigt gezeigt haben | doing | dat=person acc=text,art,pet,vehicle,sight act=certain
send sends sent sending | schicken schickt geschickt haben | doing | dat=person acc=mail,gift act=certain
bring brings brought bringing | bringen bringt gebracht haben | doing | dat=person acc=food,drink,dish act=short
lend lends lent lending | leihen leiht geliehen haben | doing | dat=person acc=vehicle,clothes,lost act=certain
tell tells told telling | erzählen erzählt erzählt haben | doing | dat=person acc=told
explain explains explained explaining | erklären erklärt erklärt haben | doing | dat=person to=1 acc=topic,story
recommend recommends recommended recommending | empfehlen empfiehlt empfohlen haben | doing | dat=person to=1 acc=story
read reads read reading | vor+lesen liest vorgelesen haben | doing | dat=person to=1 acc=text act=leisure
belong_to belongs_to belonged_to belonging_to | gehören gehört gehört haben | state | by=thing,pet dat=person
"""

_PREPOSITIONAL = """
wait waits waited waiting | warten wartet gewartet haben | doing | prep=for:auf:acc:person,ride act=meet
think thinks thought thinking | denken denkt gedacht haben | doing | prep=of:an:acc:person,event act=unplanned,short
talk talks talked talking | sprechen spricht gesprochen haben | doing | prep=about:über:acc:person,topic,story act=brief
dream dreams dreamed dreaming | träumen träumt geträumt haben | doing | prep=of:von:dat:animal,sight act=unplanned
laugh laughs laughed laughing | lachen lacht gelacht haben | doing | prep=about:über:acc:story act=unplanned,short
play plays played playing | spielen spielt gespielt haben | doing | by=minor prep=with:mit:dat:pet act=play,outdoor
"""

_INTRANSITIVE = """
sleep sleeps slept sleeping | schlafen schläft geschlafen haben | doing | by=person,animal act=sleep,rest,short
work works worked working | arbeiten arbeitet gearbeitet haben | doing | by=adult act=work,effort
play plays played playing | spielen spielt gespielt haben | doing | by=minor,pet act=play,leisure,outdoor
dance dances danced dancing | tanzen tanzt getanzt haben | doing | act=leisure,dance
cry cries cried crying | weinen weint geweint haben | doing | act=unplanned,short
laugh laughs laughed laughing | lachen lacht gelacht haben | doing | act=unplanned,short
wait waits waited waiting | warten wartet gewartet haben | doing | act=meet,short
swim swims swam swimming | schwimmen schwimmt geschwommen sein | doing | act=swim,outdoor
smoke smokes smoked smoking | rauchen raucht geraucht haben | doing | by=adult act=smoke,short
get_up gets_up got_up getting_up | auf+stehen steht aufgestanden sein | doing | act=short
shop shops shopped shopping | ein+kaufen kauft eingekauft haben | doing | act=shop,effort
watch_TV watches_TV watched_TV watching_TV | fern+sehen sieht ferngesehen haben | doing | act=leisure
"""

_MOTION = """
go goes went going | gehen geht gegangen sein | doing | act=go,outdoor
drive drives drove driving | fahren fährt gefahren sein | doing | by=adult act=drive
run runs ran running | rennen rennt gerannt sein | doing | act=go,outdoor
travel travels traveled traveling | reisen reist gereist sein | doing | act=travel
fly flies flew flying | fliegen fliegt geflogen sein | doing | act=fly
"""

_STAYING = """
stay stays stayed staying | bleiben bleibt geblieben sein | doing | act=stay,rest
live lives lived living | wohnen wohnt gewohnt haben | state | act=live
arrive arrives arrived arriving | an+kommen kommt angekommen sein | event | act=arrive
"""

_PUTTING = """
put puts put putting | legen legt gelegt haben | doing | acc=flat act=certain,short
set sets set setting | stellen stellt gestellt haben | doing | acc=dish act=certain,short
"""

_LYING = """
lie lies lay lying | liegen liegt gelegen haben | doing | by=flat,lying
stand stands stood standing | stehen steht gestanden haben | doing | by=dish
sit sits sat sitting | sitzen sitzt gesessen haben | doing | by=sitter
"""

_CLAUSAL = """
know knows knew knowing | wissen weiß gewusst haben | state | act=whether
believe believes believed believing | glauben glaubt geglaubt haben | state | act=deny
hope hopes hoped hoping | hoffen hofft gehofft haben | state |
say says said saying | sagen sagt gesagt haben | state |
"""


def _frame(text: str) -> dict[str, tuple[str, ...]]:
    fields = (item.split("=") for item in text.split())
    return {key: tuple(value.split(",")) for key, value in fields}


def _preposition(frame: dict[str, tuple[str, ...]]) -> tuple[Preposition | None, tuple[str, ...]]:
    if "prep" not in frame:
        return None, ()
    english, german, case, first_tag = frame["prep"][0].split(":")
    return Preposition(english, german, case), (first_tag, *frame["prep"][1:])


def _read(table: str) -> tuple[Verb, ...]:
    verbs = []
    for row in table.strip().splitlines():
        english, german, aspect, frame_text = (cell.strip() for cell in row.split("|"))
        base, english_third, past, ing = english.split()
        infinitive, third, participle, auxiliary = german.split()
        prefix, _, stem = infinitive.rpartition("+")
        frame = _frame(frame_text)
        preposition, prepositional = _preposition(frame)
        verbs.append(
            Verb(
                english=base,
                english_third=english_third,
                english_past=past,
                english_ing=ing,
                infinitive=stem,
                third=third,
                participle=participle,
                auxiliary=auxiliary,
                prefix=prefix,
                aspect=aspect,
                subject=frame.get("by", ("person",)),
                accusative=frame.get("acc", ()),
                dative=frame.get("dat", ()),
                dative_to="to" in frame,
                preposition=preposition,
                prepositional=prepositional,
                activities=frozenset(frame.get("act", ())),
            )
        )
    return tuple(verbs)


TRANSITIVE = _read(_TRANSITIVE)
DATIVE = _read(_DATIVE)
PREPOSITIONAL = _read(_PREPOSITIONAL)
INTRANSITIVE = _read(_INTRANSITIVE)
MOTION = _read(_MOTION)
STAYING = _read(_STAYING)
PUTTING = _read(_PUTTING)
LYING = _read(_LYING)
CLAUSAL = _read(_CLAUSAL)
BE, COST = _read(
    "be is was being | sein ist gewesen sein | state |\n"
    "cost costs cost costing | kosten kostet gekostet haben | state | by=thing"
)
VERBS = (
    *(TRANSITIVE + DATIVE + PREPOSITIONAL + INTRANSITIVE),
    *(MOTION + STAYING + PUTTING + LYING + CLAUSAL),
    BE,
    COST,
)
HAVE = next(verb for verb in VERBS if verb.english == "have")

MODALS = (
    Modal("can", "can", "can", "", "können", True, False),
    Modal("should", "should", "should", "", "sollen", True, False),
    Modal("want", "wants", "wanted", "to", "wollen", False, True),
    Modal("have", "has", "had", "to", "müssen", False, True),
    Modal("would", "would", "would", "like to", "möchten", True, False),
)
