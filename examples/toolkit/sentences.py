r"""Where the sentences of a text end, in any script.

A sentence ends at ``.``, ``!``, ``?`` or ``…`` before a blank, and at the full stops of scripts
that leave none (``。！？``) or have one of their own (Devanagari, Urdu, Ethiopic and others). It
ends at a paragraph break and before an item of a list too. It does not end in a number, behind an
abbreviation or an initial.

>>> sentences("He paid 3.5 francs, i.e. little. Élan! «Где он?» спросила она. it rains")
['He paid 3.5 francs, i.e. little.', 'Élan!', '«Где он?»', 'спросила она.', 'it rains']
>>> sentences("花子が来た。太郎は「行く。」と言った。雨だ！"), sentences("كيف حالك؟ بخير. شكرا")
(['花子が来た。', '太郎は「行く。」と言った。', '雨だ！'], ['كيف حالك؟', 'بخير.', 'شكرا'])
>>> sentences("It takes:\n- a key\n- a lamp\n\n1. Take the key. 2. Go.")
['It takes:', '- a key', '- a lamp', '1. Take the key.', '2. Go.']
"""

from __future__ import annotations

import re

__all__ = ["sentences"]

CLOSING, OPENING = "\"'’”»›)\\]}」』）】》", "\"'‘“„«‹(\\[{¿¡「『（【《"
UNSPACED = "。！？｡"  # full stops behind which there need be no blank
OWN = "؟۔।॥։።៕။"  # of scripts that have blanks, and nothing else that looks like these
ITEM = r"(?:[-*•‣–]|\d{1,3}[.)])[^\S\n]"  # what an item of a list begins with
BEGIN = rf"(?=[^\W_]|[{OPENING}`*_<@$#•‣–-])"  # how a sentence begins: a letter, a digit, a sign that opens
END = re.compile(
    rf"\n\s*\n\s*|\n\s*(?={ITEM})"
    rf"|(?P<stop>(?<=[.!?…．])[{CLOSING}]*)\s+{BEGIN}"
    rf"|(?<=[{UNSPACED}{OWN}])(?![{UNSPACED}{OWN}.!?…]|[{CLOSING}])\s*(?=\S)"
    rf"|(?<=[{UNSPACED}{OWN}][{CLOSING}])(?:\s+|(?=[{OPENING}]))(?=\S)"
    rf"|(?<=[:;])[^\S\n]+(?=[-*•‣–]\s)"
)
NEVER = frozenset(  # no sentence ends behind these
    "e.g i.e cf vs viz approx mr mrs ms dr prof st z.b d.h bzw т.е т.к напр".split()
)
NUMBERED = frozenset("no nr fig figs sec sect eq vol ch chap p pp art".split())  # nor behind these, before a number
LAST_WORD = re.compile(r"(?:^|[^\w.])((?:\w\.)*\w+)\.$")


def sentences(text: str) -> list[str]:
    """The sentences of a text in their order, without the blanks around them; none of a blank text.

    What ends behind a full stop alone, such as "etc.", "p.m." and "U.S.", is an end where no small
    letter follows.
    """
    found, start = [], 0
    for match in END.finditer(text):
        end = match.end("stop") if match["stop"] is not None else match.start()
        piece = text[start:end].strip()
        if piece and not (match["stop"] == "" and _goes_on(piece, text[match.end() :])):
            found.append(piece)
            start = match.end()
    rest = text[start:].strip()
    return [*found, rest] if rest else found


def _goes_on(piece: str, rest: str) -> bool:
    """Whether a sentence that begins as ``piece``, up to a full stop, goes on with ``rest``: by the
    last word before the stop.
    """
    last = LAST_WORD.search(piece)
    if last is None:
        return False
    word, following = last[1], rest[0]
    if len(word) == 1 and word.isalpha():  # an initial, or of "z. B."
        return (word.isupper() and word != "I") or re.match(r"\w\.", rest) is not None
    return (
        (word == piece[:-1] and word.isdigit())  # the number of an item
        or word.lower() in NEVER
        or (word.lower() in NUMBERED and following.isdigit())
        or (("." in word or word.lower() == "etc") and following.islower())
    )
