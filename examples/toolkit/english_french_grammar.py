"""The grammar of the embedded English-French corpus: a clause that spells itself out in both
languages.

A `Clause` is a sentence before it has a language; `Clause.english` and `Clause.french` write it
down.  They differ as the languages do: do-support and ``a``/``an`` on one side; gender and number
agreement, the place of adjectives, ne ... pas, elision (l', d', j', n', qu') and contraction (au,
aux, du, des) on the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from toolkit.english_french_words import (
    DETERMINERS,
    PRONOUNS,
    VERBS,
    Adjective,
    Noun,
    Subject,
    Verb,
    french_plural,
    starts_with_vowel,
)

__all__ = ["Clause", "NounPhrase", "spell_french"]

ELISION = {"le": "l'", "la": "l'", "je": "j'", "me": "m'", "se": "s'", "ne": "n'", "de": "d'", "que": "qu'"}
EUPHONY = {"ce": "cet", "ma": "mon", "sa": "son"}  # before a vowel
CONTRACTION = {("à", "le"): "au", ("à", "les"): "aux", ("de", "le"): "du", ("de", "les"): "des"}
NEGATION = {"not": "pas", "never": "jamais", "no longer": "plus"}
QUESTION = {"do": "", "where": "où", "why": "pourquoi", "how": "comment"}
BE = {"present": ("am", "is", "are", "are", "are"), "past": ("was", "was", "were", "were", "were")}
HAVE = ("ai", "a", "avons", "avez", "ont")
WAS = ("étais", "était", "étions", "étiez", "étaient")
ONESELF = ("me", "se", "nous", "vous", "se")


def spell_french(text: str) -> str:
    """Join words as French does: ``de le chat -> du chat``, ``de le arbre -> de l'arbre``, ``je ne
    ai -> je n'ai``.
    """
    spelled: list[str] = []  # from the last word to the first, for each word bends to what follows
    for word in reversed(text.split()):
        following = spelled[-1] if spelled else "."
        if starts_with_vowel(following) and word in ELISION:
            spelled[-1] = ELISION[word] + following
        elif starts_with_vowel(following) and word in EUPHONY:
            spelled.append(EUPHONY[word])
        elif (word, following) in CONTRACTION:
            spelled[-1] = CONTRACTION[word, following]
        else:
            spelled.append(word)
    return " ".join(reversed(spelled))


@dataclass(frozen=True)
class NounPhrase:
    """Determiner, adjectives, noun: ``the small black cats`` is ``les petits chats noirs``."""

    determiner: str
    noun: Noun
    plural: bool = False
    adjectives: tuple[Adjective, ...] = ()  # in English order; the French takes them before or after by itself

    def english(self, negated: bool = False) -> str:
        """Spell it; ``negated``: as the object of a negative verb, "some" becomes "any"."""
        words = [adjective.lemma for adjective in self.adjectives] + [self.noun.english[self.plural]]
        determiner = self.determiner
        if determiner == "a":
            article = "an" if words[0][0] in "aeiou" else "a"
            determiner = ("any" if negated else "some") if self.plural else article
        elif determiner == "this" and self.plural:
            determiner = "these"
        return " ".join([determiner, *words])

    def french(self, negated: bool = False) -> str:
        """Spell it, still without elision; "un, une, des" become "de" under negation, "des" before
        an adjective too.
        """
        noun, plural = self.noun, self.plural
        before: list[str] = []
        after: list[str] = []
        for adjective in self.adjectives:
            (before if adjective.precedes else after).append(adjective.french[noun.feminine][plural])
        words = [*before, noun.french[plural], *after]
        if before and not plural and not noun.feminine and starts_with_vowel(words[1]):
            words[0] = next(adjective.elided for adjective in self.adjectives if adjective.precedes)
        determiner = DETERMINERS[self.determiner][2 if plural else noun.feminine]
        if self.determiner == "a" and (negated or (plural and before)):
            determiner = "de"
        return " ".join([determiner, *words])

    @property
    def lemmas(self) -> tuple[str, ...]:
        """Its words as the dictionary has them."""
        return (self.noun.lemma, *(adjective.lemma for adjective in self.adjectives))

    def subject(self) -> Subject:
        """The phrase as who acts."""
        slot = 4 if self.plural else 1
        return Subject(self.english(), self.french(), slot, self.noun.feminine, self.lemmas, self.noun)


@dataclass(frozen=True)
class Clause:
    """Who does what, when, where; a statement, or a question of one of the kinds "do", "where",
    "why", "who" and, of somebody's health, "how".
    """

    subject: Subject
    verb: Verb
    tense: str = "present"  # or "past" (passé composé), "future" (be going to, futur proche)
    negation: str = ""  # or "not", "never", "no longer"
    object: NounPhrase | None = None
    predicate: Adjective | None = None
    place: tuple[str, str, NounPhrase] | None = None  # preposition in both languages, and the noun
    adverb: tuple[str, str] = ("", "")
    question: str = ""
    that: Clause | None = None  # what is thought or known
    addressed: Subject | None = None  # whoever is asked: "How are you, my king?"

    def english(self) -> str:
        """The sentence in English, with capital and full stop."""
        return _sentence(" ".join(self._english().split()), "?" if self.question else ".")

    def french(self) -> str:
        """The sentence in French."""
        return _sentence(spell_french(self._french()), " ?" if self.question else ".")

    def _english(self) -> str:
        slot, verb, inverted = self.subject.slot, self.verb, self.question in QUESTION
        base, third, past = verb.english
        if self.tense == "future":
            auxiliary, rest = BE["present"][slot], f"going to {base}"
        elif verb.pattern == "be":
            auxiliary, rest = BE[self.tense][slot], ""
        elif inverted or self.negation == "not":
            auxiliary, rest = "did" if self.tense == "past" else "does" if slot == 1 else "do", base
        else:
            auxiliary, rest = "", past if self.tense == "past" else third if slot == 1 else base
        head = [auxiliary, self.subject.english] if inverted else [self.subject.english, auxiliary]
        asked = self.question if self.question in ("where", "why", "how") else ""
        tail = [self.object.english(bool(self.negation))] if self.object else []
        tail += [self.predicate.lemma] if self.predicate else []
        tail += [self.place[0], self.place[2].english()] if self.place else []
        tail += ["that", self.that._english()] if self.that else []
        said = " ".join([asked, *head, self.negation, rest, *tail, self.adverb[0]])
        return f"{said.rstrip()}, {self.addressed.english}" if self.addressed else said

    def _french(self) -> str:
        if self.question == "how":
            return self._french_how()
        slot, plural, feminine, verb = self.subject.slot, self.subject.plural, self.subject.feminine, self.verb
        oneself = ONESELF[slot] + " " if verb.reflexive else ""  # before the verb that follows "aller", or first
        if self.tense == "future":
            finite, rest = VERBS["go"].present[slot], oneself + verb.infinitive
        elif self.tense == "present":
            finite, rest = oneself + verb.present[slot], ""
        elif verb.pattern == "be":
            finite, rest = WAS[slot], ""
        elif verb.with_etre:
            participle = french_plural(verb.participle + "e" * feminine) if plural else verb.participle + "e" * feminine
            finite, rest = oneself + VERBS["be"].present[slot], participle
        else:
            finite, rest = HAVE[slot], verb.participle
        group = f"ne {finite} {NEGATION[self.negation]}" if self.negation else finite
        asked = f"{QUESTION[self.question]} est-ce que" if self.question in QUESTION else ""
        tail = [self.object.french(bool(self.negation))] if self.object else []
        tail += [self.predicate.french[feminine][plural]] if self.predicate else []
        tail += [self.place[1], self.place[2].french()] if self.place else []
        tail += ["que", self.that._french()] if self.that else []
        return " ".join([asked, self.subject.french, group, rest, *tail, self.adverb[1]])

    def _french_how(self) -> str:
        """``comment allez-vous, mon roi``, ``comment va-t-elle``, ``comment va le chat``."""
        finite, who = VERBS["go"].present[self.subject.slot], self.subject.french
        inverted = self.subject in PRONOUNS.values()
        join = " " if not inverted else "-t-" if finite.endswith("a") else "-"
        said = f"comment {finite}{join}{who} {self.adverb[1]}".rstrip()
        return f"{said}, {self.addressed.french}" if self.addressed else said

    @cached_property
    def lemmas(self) -> frozenset[str]:
        """The nouns, adjectives and verbs of the sentence as the dictionary has them."""
        found = {self.verb.lemma, *self.subject.lemmas, *(self.addressed.lemmas if self.addressed else ())}
        found.update(self.object.lemmas if self.object else ())
        found.update((self.predicate.lemma,) if self.predicate else ())
        found.update(self.place[2].lemmas if self.place else ())
        return frozenset(found | self.that.lemmas if self.that else found)

    @cached_property
    def bonds(self) -> frozenset[tuple[str, str]]:
        """Words that belong together: (adjective, its noun) and (verb, its object)."""
        phrases = [who.lemmas for who in (self.subject, self.addressed) if who and who.lemmas]
        phrases += [phrase.lemmas for phrase in (self.object, self.place and self.place[2]) if phrase]
        found = {(adjective, noun) for noun, *adjectives in phrases for adjective in adjectives}
        if self.object:
            found.add((self.verb.lemma, self.object.noun.lemma))
        if self.predicate and self.subject.lemmas:
            found.add((self.predicate.lemma, self.subject.lemmas[0]))
        return frozenset(found | self.that.bonds if self.that else found)


def _sentence(text: str, end: str) -> str:
    return text[0].upper() + text[1:] + end
