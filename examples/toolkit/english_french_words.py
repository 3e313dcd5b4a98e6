"""The words of the embedded English-French corpus, and the rules that inflect them.

Every English word here has one translation, whatever the sentence: that is what makes the corpus a
function from English to French and exact match a fair score.  So ``you`` is one man, politely
(``vous êtes fatigué``), there is no verb whose present and past look alike (``read``), and nouns of
people have one grammatical gender.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ADJECTIVES", "ADVERBS", "DETERMINERS", "NAMES", "NOUNS", "PREPOSITIONS", "PRONOUNS", "VERBS"]
__all__ += ["Adjective", "Noun", "Subject", "Verb", "starts_with_vowel"]

ENGLISH_PLURALS = {"child": "children", "man": "men", "woman": "women", "mouse": "mice"}
FRENCH_FEMININES = {"beau": "belle", "vieux": "vieille", "nouveau": "nouvelle", "bon": "bonne", "blanc": "blanche"}
FRENCH_FEMININES |= {"cher": "chère", "heureux": "heureuse"}
BEFORE_VOWEL = {"beau": "bel", "vieux": "vieil", "nouveau": "nouvel"}  # masculine singular: un bel arbre


def starts_with_vowel(word: str) -> bool:
    """Whether French elides before ``word``; every h in this vocabulary is mute
    (l'homme, l'hôtel).
    """
    return word[0] in "aeiouhéêœAEIOU"


def english_plural(noun: str) -> str:
    """``cat -> cats``, ``box -> boxes``, ``child -> children``."""
    return ENGLISH_PLURALS.get(noun) or noun + ("es" if noun.endswith(("s", "x", "ch")) else "s")


def french_plural(word: str) -> str:
    """Of a noun or an adjective: ``chat -> chats``, ``gâteau -> gâteaux``, ``cheval ->
    chevaux``.
    """
    if word.endswith(("s", "x")):
        return word
    if word.endswith("al"):
        return word[:-1] + "ux"
    return word + ("x" if word.endswith("eau") else "s")


def french_feminine(adjective: str) -> str:
    """``noir -> noire``, ``rouge -> rouge``, ``beau -> belle``."""
    return FRENCH_FEMININES.get(adjective) or adjective + ("" if adjective.endswith("e") else "e")


class Noun(NamedTuple):
    """A noun; ``kind`` says which verbs and adjectives may go with it, so that sentences make
    sense.
    """

    lemma: str
    english: tuple[str, str]  # singular, plural
    french: tuple[str, str]
    feminine: bool
    kind: str


class Adjective(NamedTuple):
    """An adjective with its four French forms, ``french[feminine][plural]``."""

    lemma: str
    french: tuple[tuple[str, str], tuple[str, str]]
    elided: str  # the masculine singular before a vowel
    precedes: bool  # comes before the French noun: un petit chat, but un chat noir
    predicative: bool  # may follow "be"; a new car is "une nouvelle voiture", yet it is "neuve"
    kinds: frozenset[str]


class Verb(NamedTuple):
    """A verb: English base, third person, past; French infinitive, five persons of the present,
    past participle.
    """

    lemma: str
    english: tuple[str, str, str]
    infinitive: str
    present: tuple[str, str, str, str, str]  # je, il, nous, vous, ils
    participle: str
    pattern: str  # what follows: "object", "give" (object to person), "place", "that", "be", or "to/à", "from/de"
    subjects: frozenset[str]
    objects: frozenset[str] = frozenset()
    with_etre: bool = False  # perfect with "être", whose participle agrees with the subject
    specific: bool = False  # takes no indefinite object: one loves the cat, hardly "some cat"
    reflexive: bool = False  # "I sit" is "je m'assieds"


class Subject(NamedTuple):
    """Whoever acts: ``slot`` is the person, 0 to 4 for je, il, nous, vous, ils."""

    english: str
    french: str
    slot: int
    feminine: bool
    lemmas: tuple[str, ...] = ()
    noun: Noun | None = None

    @property
    def plural(self) -> bool:
        """Whether adjectives and participles take the plural."""
        return self.slot in (2, 4)  # vous is one person here


CHILD, PERSON, KIN = {"child"}, {"child", "adult", "kin"}, {"adult", "kin"}
ANIMATE = PERSON | {"animal"}
THING = {"item", "large", "paper", "box"}
GOODS = THING | {"food", "animal"}
SPACE = {"place", "room"}
EVERYTHING = ANIMATE | GOODS

KINDS = {
    "child": "boy/garçon girl/fille/f child/enfant",
    "adult": "man/homme woman/femme/f doctor/médecin student/étudiant teacher/professeur actress/actrice/f",
    "kin": "uncle/oncle aunt/tante/f neighbour/voisin king/roi queen/reine/f",
    "animal": "cat/chat dog/chien bird/oiseau horse/cheval mouse/souris/f",
    "food": "apple/pomme/f orange/orange/f egg/œuf cake/gâteau",
    "item": "hat/chapeau flower/fleur/f key/clé/f mat/tapis",
    "large": "car/voiture/f tree/arbre chair/chaise/f house/maison/f",
    "paper": "book/livre letter/lettre/f",
    "box": "box/boîte/f suitcase/valise/f",
    "place": "school/école/f church/église/f hotel/hôtel market/marché park/parc station/gare/f",
    "room": "garden/jardin kitchen/cuisine/f",
}


def _noun(entry: str, kind: str) -> Noun:
    english, french, *feminine = entry.split("/")
    return Noun(english, (english, english_plural(english)), (french, french_plural(french)), bool(feminine), kind)


NOUNS = {noun.lemma: noun for kind, row in KINDS.items() for noun in (_noun(entry, kind) for entry in row.split())}


def _adjective(lemma: str, french: str, kinds: set[str], precedes: bool = False) -> Adjective:
    feminine = french_feminine(french)
    forms = ((french, french_plural(french)), (feminine, french_plural(feminine)))
    return Adjective(lemma, forms, BEFORE_VOWEL.get(french, french), precedes, lemma != "new", frozenset(kinds))


ADJECTIVES = {
    adjective.lemma: adjective
    for adjective in (
        _adjective("small", "petit", CHILD | GOODS | SPACE, precedes=True),
        _adjective("big", "grand", {"animal"} | THING | SPACE, precedes=True),
        _adjective("huge", "énorme", GOODS - {"paper"} | SPACE, precedes=True),
        _adjective("beautiful", "beau", EVERYTHING | SPACE, precedes=True),
        _adjective("old", "vieux", KIN | THING | SPACE | {"animal"}, precedes=True),
        _adjective("new", "nouveau", THING | SPACE | {"kin", "animal"}, precedes=True),
        _adjective("young", "jeune", ANIMATE, precedes=True),
        _adjective("good", "bon", KIN | {"food"}, precedes=True),
        _adjective("expensive", "cher", THING | {"food"}),
        _adjective("black", "noir", THING | {"animal"}),
        _adjective("white", "blanc", THING | {"animal"}),
        _adjective("red", "rouge", THING | {"food"}),
        _adjective("green", "vert", THING | {"food"}),
        _adjective("happy", "heureux", ANIMATE),
        _adjective("sad", "triste", ANIMATE),
        _adjective("tired", "fatigué", ANIMATE),
        _adjective("clever", "intelligent", ANIMATE),
        _adjective("rich", "riche", KIN),
    )
}


def regular_er(infinitive: str) -> str:
    """The principal parts of a verb of the first group:
    ``parler/parle/parle/parlons/parlez/parlent/parlé``.
    """
    stem = infinitive[:-2]
    nous = stem + ("eons" if stem.endswith("g") else "ons")  # nous mangeons: the g stays soft
    return f"{infinitive}/{stem}e/{stem}e/{nous}/{stem}ez/{stem}ent/{stem}é"


def _verb(
    english: str,
    french: str,
    pattern: str,
    subjects: set[str],
    objects: set[str] = EVERYTHING,
    with_etre: bool = False,
    specific: bool = False,
    reflexive: bool = False,
) -> Verb:
    base, third, past = english.split("/")
    infinitive, je, il, nous, vous, ils, participle = (french if "/" in french else regular_er(french)).split("/")
    forms = (base, third, past), infinitive, (je, il, nous, vous, ils), participle
    return Verb(base, *forms, pattern, frozenset(subjects), frozenset(objects), with_etre, specific, reflexive)


VERBS = {
    verb.lemma: verb
    for verb in (
        _verb("eat/eats/ate", "manger", "object", ANIMATE, {"food"}),
        _verb("see/sees/saw", "voir/vois/voit/voyons/voyez/voient/vu", "object", ANIMATE),
        _verb("find/finds/found", "trouver", "object", ANIMATE),
        _verb("look for/looks for/looked for", "chercher", "object", ANIMATE),
        _verb("love/loves/loved", "aimer", "object", ANIMATE, specific=True),
        _verb("watch/watches/watched", "regarder", "object", ANIMATE, ANIMATE),
        _verb(
            "wait for/waits for/waited for",
            "attendre/attends/attend/attendons/attendez/attendent/attendu",
            "object",
            ANIMATE,
            PERSON,
        ),
        _verb("listen to/listens to/listened to", "écouter", "object", PERSON, PERSON),
        _verb("buy/buys/bought", "acheter/achète/achète/achetons/achetez/achètent/acheté", "object", PERSON, GOODS),
        _verb("sell/sells/sold", "vendre/vends/vend/vendons/vendez/vendent/vendu", "object", PERSON, GOODS),
        _verb(
            "take/takes/took",
            "prendre/prends/prend/prenons/prenez/prennent/pris",
            "object",
            PERSON,
            GOODS - {"large", "animal"},
        ),
        _verb("draw/draws/drew", "dessiner", "object", PERSON),
        _verb(
            "open/opens/opened", "ouvrir/ouvre/ouvre/ouvrons/ouvrez/ouvrent/ouvert", "object", PERSON, {"paper", "box"}
        ),
        _verb("give/gives/gave", "donner", "give", PERSON, GOODS),
        _verb("show/shows/showed", "montrer", "give", PERSON, GOODS),
        _verb("sleep/sleeps/slept", "dormir/dors/dort/dormons/dormez/dorment/dormi", "place", ANIMATE),
        _verb(
            "sit/sits/sat",
            "asseoir/assieds/assied/asseyons/asseyez/asseyent/assis",
            "place",
            ANIMATE,
            with_etre=True,
            reflexive=True,
        ),
        _verb("work/works/worked", "travailler", "place", PERSON),
        _verb("sing/sings/sang", "chanter", "place", ANIMATE),
        _verb("stay/stays/stayed", "rester", "place", ANIMATE, with_etre=True),
        _verb("fall/falls/fell", "tomber", "place", ANIMATE, with_etre=True),
        _verb("go/goes/went", "aller/vais/va/allons/allez/vont/allé", "to/à", ANIMATE, with_etre=True),
        _verb("arrive/arrives/arrived", "arriver", "at/à", ANIMATE, with_etre=True),
        _verb(
            "come back/comes back/came back",
            "revenir/reviens/revient/revenons/revenez/reviennent/revenu",
            "from/de",
            ANIMATE,
            with_etre=True,
        ),
        _verb("think/thinks/thought", "penser", "that", PERSON),
        _verb("know/knows/knew", "savoir/sais/sait/savons/savez/savent/su", "that", PERSON),
        _verb("be/is/was", "être/suis/est/sommes/êtes/sont/été", "be", EVERYTHING),
    )
}

# Masculine singular, feminine singular, plural.
DETERMINERS = {
    "the": ("le", "la", "les"),
    "a": ("un", "une", "des"),
    "this": ("ce", "cette", "ces"),
    "my": ("mon", "ma", "mes"),
    "his": ("son", "sa", "ses"),
    "her": ("son", "sa", "ses"),
    "our": ("notre", "notre", "nos"),
    "their": ("leur", "leur", "leurs"),
}
PRONOUNS = {
    "I": Subject("I", "je", 0, False),  # a man speaks: "je suis fatigué"
    "he": Subject("he", "il", 1, False),
    "she": Subject("she", "elle", 1, True),
    "we": Subject("we", "nous", 2, False),
    "you": Subject("you", "vous", 3, False),  # one man, politely: "vous êtes fatigué"
    "they": Subject("they", "ils", 4, False),
}
NAMES = {name: Subject(name, name, 1, name in ("Marie", "Alice")) for name in ("Marie", "Alice", "Paul", "Arthur")}
PREPOSITIONS = {  # French, and the nouns that fit
    "in": ("dans", tuple(n for n in NOUNS.values() if n.kind in SPACE)),
    "near": ("près de", tuple(n for n in NOUNS.values() if n.kind in SPACE | {"large"})),
    "behind": ("derrière", tuple(n for n in NOUNS.values() if n.kind in SPACE | {"large"})),
    "in front of": ("devant", tuple(n for n in NOUNS.values() if n.kind in SPACE | {"large"})),
    "on": ("sur", (NOUNS["mat"], NOUNS["chair"], NOUNS["box"], NOUNS["suitcase"])),
    "under": ("sous", (NOUNS["tree"], NOUNS["chair"], NOUNS["car"])),
}
ADVERBS = {
    "past": (("yesterday", "hier"), ("this morning", "ce matin")),
    "future": (("tomorrow", "demain"), ("tonight", "ce soir")),
}
