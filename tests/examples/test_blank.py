r"""A text of which nobody sees anything is empty, whoever asks: "\u200b" as much as " "."""

import ast
import unicodedata
from pathlib import Path

import pytest
from toolkit import english_french
from toolkit.blank import is_blank, stripped
from toolkit.captioned import _rows
from toolkit.classification import guess
from toolkit.console import UserError
from toolkit.corpus import load_parallel
from toolkit.dialogue import Conversation
from toolkit.fasta import dna_of
from toolkit.labelled import read_labelled
from toolkit.queueing import Refused, Together
from toolkit.reading import read_lines
from toolkit.recordings import read_spoken
from toolkit.story_files import read_stories
from toolkit.story_words import Words
from toolkit.tables import read_table
from toolkit.translation import Settings
from toolkit.translator import Translator

EXAMPLES = Path(english_french.__file__).parents[1]
UNSEEN = (
    "\u200b",
    "\ufeff",
    "\u2060 \u200e",
    "\u00ad",
    "\u3164",
    "\U000e0001",
    "\u2800",
    "\x07",
    "\u2028",
    "\u00a0\ufe0f",
)


def test_what_is_blank():
    for text in ("", " \t\n", *UNSEEN, "".join(UNSEEN)):
        assert is_blank(text) and stripped(text) == "", ascii(text)
    for text in (".", "\u0301", "\u0600", "a\u200b", "\u200bمی\u200cخواهم", "\U0001f468\u200d\U0001f469", "_"):
        assert not is_blank(text) and stripped(f" {text}\n") == text, ascii(text)
    formats = {chr(code) for code in range(0x11_0000) if unicodedata.category(chr(code)) == "Cf"}
    seen = {letter for letter in formats if not is_blank(letter)}
    # Marks of numbers and of hieroglyphs, which are drawn.
    assert {unicodedata.name(letter).split()[0] for letter in seen} <= {"ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN"}


def file(tmp_path, text):
    (tmp_path / "x").write_text(text.replace("_", "\u200b"), encoding="utf-8")
    return tmp_path / "x"


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_lines, "a\n_\n", "line 2 is empty"),
        (lambda path: load_parallel(path, "en", "de"), "a\tb\n_\tc\n", "line 2 is empty on the source side"),
        (lambda path: load_parallel(path, "en", "de"), "a\tb\n_\t \n", "line 2 is empty"),
        (read_labelled, "a\tgood\nb\t_\n", "line 2"),
        (read_stories, "_\n \n", "holds no story"),
        (read_stories, "It is.\nIs it?\t_\n", "line 2 is a question without an answer"),
        (lambda path: _rows(str(path)), "a.png\t_\n", "line 1 has no caption"),
        (read_spoken, "a.wav\t_\n", "line 1 must be"),
        (lambda path: read_table(str(path)).numbers(0), "value\n1\n_\n", "line 3, column value: .* is not a number; fill in"),
        (lambda path: dna_of(path.read_text(encoding="utf-8"), "gene"), "_", "gene is empty"),
    ],
)  # fmt: skip
def test_readers_take_it_for_empty(read, text, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read(file(tmp_path, text))


class Unasked:
    """What nothing is to be asked of, since the text is empty."""

    settings = Settings
    words = Words.of(["It is."])


def test_what_is_typed_too():
    with pytest.raises(UserError, match="sentence 2 is empty"):
        Translator._encode(Unasked(), ["a", "\u200b"], str, "", "sentence")
    with pytest.raises(Refused, match="text 1 is blank"):
        Together._check(type("Queue", (), {"translators": {"": None}})(), ["\u200b"], "")
    with pytest.raises(UserError, match="text 1 is empty"):
        guess(None, ["\u200b"], Unasked(), None)
    talk = Conversation(Unasked())
    talk.hear("It is.")
    assert talk.said.story and talk.hear("\u200b") is None and not talk.said.story


def test_no_program_asks_in_another_way():
    """No ``text.strip()`` is taken for true or false."""
    asked = []
    for path in EXAMPLES.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text if ".strip()" in text else "")):
            tests = [node.operand] if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) else []
            tests += [node.test] if isinstance(node, (ast.If, ast.IfExp, ast.While)) else []
            tests += node.values if isinstance(node, ast.BoolOp) else []
            tests += node.ifs if isinstance(node, ast.comprehension) else []
            asked += [
                f"{path.name}:{test.lineno}"
                for test in tests
                if isinstance(test, ast.Call) and isinstance(test.func, ast.Attribute) and test.func.attr == "strip"
            ]
    assert not asked
