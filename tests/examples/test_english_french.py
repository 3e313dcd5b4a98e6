"""The embedded corpus: its French against sentences checked by hand, and the promises of its
held-out sets.
"""

import hashlib
import re
from collections import Counter

import pytest
from toolkit.english_french import HELD_OUT, LENGTHS, WHO, Dice, corpus, draw
from toolkit.english_french_grammar import Clause, NounPhrase, spell_french
from toolkit.english_french_words import ADJECTIVES, ADVERBS, NAMES, NOUNS, PREPOSITIONS, PRONOUNS, VERBS, Subject

PLURALS = {noun.english[1]: noun.lemma for noun in NOUNS.values()}
APPEARANCES = 20  # at least so often does training show every word of the held-out sets


def phrase(text):
    """A noun phrase from its English: "these small cats"."""
    determiner, *adjectives, noun = text.split()
    determiner = {"an": "a", "some": "a", "these": "this"}.get(determiner, determiner)
    lemma = PLURALS.get(noun, noun)
    return NounPhrase(determiner, NOUNS[lemma], noun in PLURALS, tuple(ADJECTIVES[word] for word in adjectives))


def clause(who, verb, tense="present", negation="", **parts):
    """A clause from short words; ``to="the boy"`` gives the object of "to", ``at=("near", "the
    park")`` a place.
    """
    subject = {**PRONOUNS, **NAMES, "who": WHO}.get(who) or phrase(who).subject()
    details = {}
    if "object" in parts:
        details["object"] = phrase(parts["object"])
    if "adjective" in parts:
        details["predicate"] = ADJECTIVES[parts["adjective"]]
    for name, english, french in (("to", "to", "à"), ("target", "at", "à"), ("source", "from", "de")):
        if name in parts:
            details["place"] = (english, french, phrase(parts[name]))
    if "at" in parts:
        preposition, noun = parts["at"]
        details["place"] = (preposition, PREPOSITIONS[preposition][0], phrase(noun))
    if "when" in parts:
        details["adverb"] = next(pair for pairs in ADVERBS.values() for pair in pairs if pair[0] == parts["when"])
    if "that" in parts:
        details["that"] = parts["that"]
    if "addressed" in parts:
        details["addressed"] = NAMES.get(parts["addressed"]) or phrase(parts["addressed"]).subject()
    return Clause(subject, VERBS[verb], tense, negation, question=parts.get("ask", ""), **details)


SENTENCES = [
    # agreement and place of adjectives
    (clause("the black cat", "eat", "present", "not", object="the apple"),
     "The black cat does not eat the apple.", "Le chat noir ne mange pas la pomme."),
    (clause("the small black mice", "eat", object="this cake"),
     "The small black mice eat this cake.", "Les petites souris noires mangent ce gâteau."),
    (clause("I", "see", object="a beautiful tree"), "I see a beautiful tree.", "Je vois un bel arbre."),
    (clause("we", "see", object="an old green tree"), "We see an old green tree.", "Nous voyons un vieil arbre vert."),
    (clause("Paul", "buy", object="my new house"), "Paul buys my new house.", "Paul achète ma nouvelle maison."),
    (clause("she", "find", object="a new hotel"), "She finds a new hotel.", "Elle trouve un nouvel hôtel."),
    (clause("they", "draw", object="these old trees"), "They draw these old trees.", "Ils dessinent ces vieux arbres."),
    (clause("the horses", "be", adjective="white"),
     "The horses are white.", "Les chevaux sont blancs."),
    (clause("the flowers", "be", adjective="white"), "The flowers are white.", "Les fleurs sont blanches."),
    (clause("the actresses", "be", "past", adjective="happy"),
     "The actresses were happy.", "Les actrices étaient heureuses."),
    (clause("the men", "be", adjective="happy"), "The men are happy.", "Les hommes sont heureux."),
    (clause("this car", "be", "present", "not", adjective="expensive"),
     "This car is not expensive.", "Cette voiture n'est pas chère."),
    # des, de, d'
    (clause("Marie", "see", object="some birds"), "Marie sees some birds.", "Marie voit des oiseaux."),
    (clause("Marie", "see", object="some beautiful birds"),
     "Marie sees some beautiful birds.", "Marie voit de beaux oiseaux."),
    (clause("the dogs", "eat", object="some huge eggs"),
     "The dogs eat some huge eggs.", "Les chiens mangent d'énormes œufs."),
    (clause("she", "eat", "present", "not", object="some oranges"),
     "She does not eat any oranges.", "Elle ne mange pas d'oranges."),
    (clause("he", "buy", "past", "never", object="a car"),
     "He never bought a car.", "Il n'a jamais acheté de voiture."),
    (clause("he", "buy", "past", "not", object="the car"), "He did not buy the car.", "Il n'a pas acheté la voiture."),
    # determiners before a vowel
    (clause("I", "take", object="this egg"), "I take this egg.", "Je prends cet œuf."),
    (clause("he", "sell", object="her orange"), "He sells her orange.", "Il vend son orange."),
    (clause("he", "sell", object="her huge car"), "He sells her huge car.", "Il vend son énorme voiture."),
    (clause("he", "sell", object="his red orange"), "He sells his red orange.", "Il vend son orange rouge."),
    (clause("our aunts", "sing", at=("behind", "their school")),
     "Our aunts sing behind their school.", "Nos tantes chantent derrière leur école."),
    # elision
    (clause("I", "love", object="the child"), "I love the child.", "J'aime l'enfant."),
    (clause("I", "love", "present", "no longer", object="my dog"),
     "I no longer love my dog.", "Je n'aime plus mon chien."),
    (clause("the man", "listen to", "past", object="the actress"),
     "The man listened to the actress.", "L'homme a écouté l'actrice."),
    (clause("the huge cat", "sleep", at=("under", "the tree")),
     "The huge cat sleeps under the tree.", "L'énorme chat dort sous l'arbre."),
    # contraction
    (clause("the girl", "go", to="the market"), "The girl goes to the market.", "La fille va au marché."),
    (clause("the girl", "go", to="the hotel"), "The girl goes to the hotel.", "La fille va à l'hôtel."),
    (clause("Arthur", "give", object="the key", to="the boys"),
     "Arthur gives the key to the boys.", "Arthur donne la clé aux garçons."),
    (clause("Arthur", "show", object="a letter", to="the old uncle"),
     "Arthur shows a letter to the old uncle.", "Arthur montre une lettre au vieil oncle."),
    (clause("they", "come back", source="the park"), "They come back from the park.", "Ils reviennent du parc."),
    (clause("they", "come back", source="the church"),
     "They come back from the church.", "Ils reviennent de l'église."),
    (clause("we", "work", at=("near", "the gardens")),
     "We work near the gardens.", "Nous travaillons près des jardins."),
    (clause("we", "work", at=("near", "the station")),
     "We work near the station.", "Nous travaillons près de la gare."),
    # passé composé
    (clause("we", "eat", "past", object="an apple", when="this morning"),
     "We ate an apple this morning.", "Nous avons mangé une pomme ce matin."),
    (clause("Alice", "go", "past", to="the school"), "Alice went to the school.", "Alice est allée à l'école."),
    (clause("the women", "come back", "past", "not", source="the market"),
     "The women did not come back from the market.", "Les femmes ne sont pas revenues du marché."),
    (clause("he", "fall", "past", at=("in front of", "our house")),
     "He fell in front of our house.", "Il est tombé devant notre maison."),
    (clause("we", "arrive", "past", "never", target="the hotel"),
     "We never arrived at the hotel.", "Nous ne sommes jamais arrivés à l'hôtel."),
    # present: spelling of nous, the four persons
    (clause("we", "eat", object="their cakes"), "We eat their cakes.", "Nous mangeons leurs gâteaux."),
    (clause("I", "come back", source="this station"), "I come back from this station.", "Je reviens de cette gare."),
    (clause("the mouse", "be", at=("under", "his chair")),
     "The mouse is under his chair.", "La souris est sous sa chaise."),
    # near future
    (clause("I", "open", "future", object="the letter", when="tomorrow"),
     "I am going to open the letter tomorrow.", "Je vais ouvrir la lettre demain."),
    (clause("they", "be", "future", "never", adjective="rich"),
     "They are never going to be rich.", "Ils ne vont jamais être riches."),
    # questions
    (clause("he", "look for", object="his key", ask="do"),
     "Does he look for his key?", "Est-ce qu'il cherche sa clé ?"),
    (clause("the children", "find", "past", object="the box", ask="do"),
     "Did the children find the box?", "Est-ce que les enfants ont trouvé la boîte ?"),
    (clause("Alice", "be", ask="do", adjective="tired"), "Is Alice tired?", "Est-ce qu'Alice est fatiguée ?"),
    (clause("we", "sleep", "future", ask="where"),
     "Where are we going to sleep?", "Où est-ce que nous allons dormir ?"),
    (clause("the bird", "sing", ask="why", at=("in", "my kitchen")),
     "Why does the bird sing in my kitchen?", "Pourquoi est-ce que l'oiseau chante dans ma cuisine ?"),
    (clause("who", "wait for", "present", "not", object="the doctor", ask="who"),
     "Who does not wait for the doctor?", "Qui n'attend pas le médecin ?"),
    (clause("who", "draw", "past", object="a horse", ask="who"), "Who drew a horse?", "Qui a dessiné un cheval ?"),
    # you, one man
    (clause("you", "be", adjective="tired"), "You are tired.", "Vous êtes fatigué."),
    (clause("you", "eat", "past", "not", object="the egg"),
     "You did not eat the egg.", "Vous n'avez pas mangé l'œuf."),
    (clause("you", "be", "past", ask="why", adjective="sad"),
     "Why were you sad?", "Pourquoi est-ce que vous étiez triste ?"),
    (clause("you", "go", "past", to="the park"), "You went to the park.", "Vous êtes allé au parc."),
    # how somebody is
    (clause("you", "be", ask="how"), "How are you?", "Comment allez-vous ?"),
    (clause("you", "be", ask="how", addressed="my old king"),
     "How are you, my old king?", "Comment allez-vous, mon vieux roi ?"),
    (clause("she", "be", ask="how", addressed="Marie"), "How is she, Marie?", "Comment va-t-elle, Marie ?"),
    (clause("they", "be", ask="how"), "How are they?", "Comment vont-ils ?"),
    (clause("the queen", "be", ask="how"), "How is the queen?", "Comment va la reine ?"),
    (clause("you", "be", ask="how", addressed="my uncle", when="this morning"),
     "How are you this morning, my uncle?", "Comment allez-vous ce matin, mon oncle ?"),
    # sitting down, which French does to oneself
    (clause("the cat", "sit", "past", at=("on", "the mat")),
     "The cat sat on the mat.", "Le chat s'est assis sur le tapis."),
    (clause("the queens", "sit", "past", "never", at=("on", "these chairs")),
     "The queens never sat on these chairs.", "Les reines ne se sont jamais assises sur ces chaises."),
    (clause("the kings", "sit", "past", at=("in", "the garden")),
     "The kings sat in the garden.", "Les rois se sont assis dans le jardin."),
    (clause("I", "sit", "present", "no longer", at=("on", "the box")),
     "I no longer sit on the box.", "Je ne m'assieds plus sur la boîte."),
    (clause("we", "sit", "future", ask="where"),
     "Where are we going to sit?", "Où est-ce que nous allons nous asseoir ?"),
    (clause("you", "sit", "future", "not", at=("under", "the tree")),
     "You are not going to sit under the tree.", "Vous n'allez pas vous asseoir sous l'arbre."),
    # a clause within a clause
    (clause("I", "know", that=clause("she", "be", "past", adjective="sad")),
     "I know that she was sad.", "Je sais qu'elle était triste."),
    (clause("Marie", "think", that=clause("an uncle", "stay", "past", at=("in", "the garden"))),
     "Marie thinks that an uncle stayed in the garden.", "Marie pense qu'un oncle est resté dans le jardin."),
]  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return corpus()


def words(sentence):
    """The words of a sentence; an elided one (l', qu') is one by itself, as it does for a
    tokenizer.
    """
    return re.findall(r"\w+'?", sentence.lower())


@pytest.fixture(scope="module")
def bare(data):
    """The English sentences of each list, lower-case, without punctuation, with a space at both
    ends.
    """
    return {name: [f" {' '.join(words(english))} " for english, _ in pairs] for name, pairs in vars(data).items()}


def occurs(lemma, sentence):
    """Whether any form of the English word is in the ``bare`` sentence, as its text alone shows."""
    if lemma in VERBS:
        forms = VERBS[lemma].english
    else:
        forms = NOUNS[lemma].english if lemma in NOUNS else (lemma,)
    return any(f" {form} " in sentence for form in forms)


@pytest.mark.parametrize(("sentence", "english", "french"), SENTENCES, ids=[row[1] for row in SENTENCES])
def test_grammar(sentence, english, french):
    assert (sentence.english(), sentence.french()) == (english, french)


@pytest.mark.parametrize(
    ("words", "french"),
    [
        ("de le chat", "du chat"),
        ("de les chats", "des chats"),
        ("de le arbre", "de l'arbre"),
        ("à les hommes", "aux hommes"),
        ("je ne ai pas", "je n'ai pas"),
        ("est-ce que il va à le hôtel", "est-ce qu'il va à l'hôtel"),
        ("ma orange et sa école", "mon orange et son école"),
        ("ce oiseau", "cet oiseau"),
    ],
)
def test_spelling(words, french):
    assert spell_french(words) == french


def test_the_masculine_governs_mixed_company():
    went = VERBS["go"]
    to_school = ("to", "à", phrase("the school"))
    women = Clause(Subject("Marie and Alice", "Marie et Alice", 4, True), went, "past", place=to_school)
    mixed = Clause(Subject("Marie and Paul", "Marie et Paul", 4, False), went, "past", place=to_school)
    assert women.french() == "Marie et Alice sont allées à l'école."
    assert mixed.french() == "Marie et Paul sont allés à l'école."


def test_random_sentences_keep_the_rules_of_spelling():
    """What no French sentence may hold, whatever was drawn."""
    dice = Dice(7)
    vowel = "[aeiouhéêœ]"
    forbidden = [
        rf"\b(le|la|je|me|ne|se|de|que|ce|ma|sa|beau|nouveau) (?!hier){vowel}",
        r"\b(à|de) les?\b",
        r"\b(pas|jamais|plus) une? ",
        r"\b(mes|ses|les|des|nos|leurs|ces) (grand|petit|noir|beau|jeune) ",
        r"  ",
        r"[^ ]\?",
    ]
    for _ in range(20_000):
        french = draw(dice).french()
        for pattern in forbidden:
            assert not re.search(pattern, french.lower()), f"{french!r} matches {pattern}"


def test_one_english_sentence_has_one_translation():
    dice, translation = Dice(11), {}
    for _ in range(40_000):
        sentence = draw(dice)
        english, french = sentence.english(), sentence.french()
        assert translation.setdefault(english, french) == french


def test_at_least_fifty_thousand_distinct_pairs():
    data = corpus(seed=2, n_train=50_000, n_validation=0, n_test=0)
    assert len({english for english, _ in data.train}) == 50_000


def test_sizes_and_lengths(data):
    lists = (data.train, data.validation, data.unseen_sentences, data.unseen_combinations)
    assert [len(pairs) for pairs in lists] == [30_000, 500, 1000, 1000]
    assert all(len(english.split()) in LENGTHS for pairs in lists for english, _ in pairs)


def test_no_sentence_stands_in_two_lists(data):
    pairs = data.train + data.validation + data.unseen_sentences + data.unseen_combinations
    assert len({english for english, _ in pairs}) == len(pairs)


@pytest.mark.parametrize(("one", "other"), HELD_OUT)
def test_a_held_out_combination_is_never_trained_on_but_its_words_are(bare, one, other):
    for english in bare["train"] + bare["validation"] + bare["unseen_sentences"]:
        assert not (occurs(one, english) and occurs(other, english)), english
    for word in (one, other):
        assert sum(occurs(word, english) for english in bare["train"]) >= 200
    assert sum(occurs(one, english) and occurs(other, english) for english in bare["unseen_combinations"]) >= 5


def test_every_unseen_combination_holds_one(bare):
    for english in bare["unseen_combinations"]:
        assert any(occurs(one, english) and occurs(other, english) for one, other in HELD_OUT), english


@pytest.mark.parametrize("side", [0, 1], ids=["english", "french"])
def test_training_shows_every_word_often(data, side):
    trained = Counter(word for pair in data.train for word in words(pair[side]))
    for pair in data.validation + data.unseen_sentences + data.unseen_combinations:
        assert all(trained[word] >= APPEARANCES for word in words(pair[side])), pair
    assert min(trained.values()) >= APPEARANCES


def test_a_seed_gives_one_corpus_on_every_machine():
    """The digest was taken once and holds for every version of Python; change it only together with
    the grammar.
    """
    data = corpus(seed=0, n_train=2000, n_validation=50, n_test=100)
    text = "\n".join("\t".join(pair) for pairs in vars(data).values() for pair in pairs)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "d318d3c4e2055b0a"
    assert corpus(1, n_train=100, n_validation=0, n_test=0) != corpus(0, n_train=100, n_validation=0, n_test=0)


def test_a_size_out_of_range_says_what_to_write():
    with pytest.raises(ValueError, match="n_train=-1; write a number from 0 to"):
        corpus(n_train=-1)
