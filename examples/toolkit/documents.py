"""Text as documents of sentences, each with its topic: to pre-train on, and to tell topics apart.

A text is cut at its underlined titles, and the text below a title into documents of some `LENGTH`
sentences. A paragraph that came before, in whatever text, is left out: nothing held out was trained
on, though texts quote each other.
"""

from __future__ import annotations

import ast
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.blank import is_blank
from toolkit.console import UserError, counted, note
from toolkit.copies import copies_note
from toolkit.reading import NotText, read_text

__all__ = [
    "Document",
    "cut_documents",
    "embedded_texts",
    "help_topics",
    "library_docstrings",
    "load_documents",
    "split_documents",
    "text_of",
    "topic_names",
]

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")  # the fields that hold statements
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
LENGTH = 20  # sentences of a document, about
TITLE = re.compile(r"^.*\n[=*~^#-]{3,}$", re.MULTILINE)
RULE = re.compile(r"^[ +=|*~^-]+$", re.MULTILINE)  # of tables: no words
PARAGRAPH = re.compile(r"\n\s*\n")
# Where passages to pre-train on are cut; `toolkit.sentences` is stricter. A capital, or a letter of
# another script, begins one, also behind a colon. What was trained on embedded texts rests on it.
SENTENCE = re.compile(r"(?<=[.?!:;؟۔।]) +(?=[A-Z\"“*(«¿¡]|[^\W\d_a-z])|(?<=[。！？])(?=[^。！？」』）])")


@dataclass(frozen=True)
class Document:
    """Sentences in their order, and the name of the text they come from."""

    topic: str
    sentences: list[str]


def load_documents(path: str | os.PathLike[str] | None) -> list[Document]:
    """The documents of a UTF-8 file, plain or packed, or of all such files in a folder, each of
    them a topic.

    Default: two megabytes of English that every Python carries, see `embedded_texts`. Hidden files
    of a folder are passed over, and so are files that are no text; stderr reports these, and what
    is left out of the text. Raises UserError for what cannot be read, and for too little text.
    """
    if path is None:
        return cut_documents(embedded_texts())
    path = Path(path)
    texts = _read_folder(path) if path.is_dir() else {topic_names([path])[0]: read_text(path)}
    documents, paragraphs, different, alone = _cut_all(texts)
    if len(documents) < 2 * LENGTH:
        raise UserError(
            f"{path} has text for {counted(len(documents), 'document')} of {LENGTH} sentences; it takes {2 * LENGTH}"
        )
    for line in copies_note(str(path), "paragraph", paragraphs, different, left_out=paragraphs - different, whole=True):
        note(line)
    if alone:
        note(f"{path}: {counted(alone, 'sentence')} without another below the same title left out")
    return documents


def _read_folder(folder: Path) -> dict[str, str]:
    """The texts of a folder by their topics."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    texts: dict[Path, str] = {}
    for path in inside:
        if path.is_file():
            try:
                texts[path] = read_text(path)
            except NotText as error:
                note(f"passed over: {error}")
    if not texts:
        what = "no file of text" + (
            ", only folders: give one of these" if any(path.is_dir() for path in inside) else ""
        )
        raise UserError(
            f"{folder} has {what if inside else 'nothing in it'}; each file of text that it holds is a topic"
        )
    return dict(zip(topic_names(list(texts)), texts.values(), strict=True))


def topic_names(paths: Sequence[Path]) -> list[str]:
    """The names of files without their endings, ``news.2019`` for news.2019.txt.gz; the whole name
    if another would have the same.

    >>> topic_names([Path("a.txt"), Path("news.2019.txt"), Path("b.txt"), Path("b.md")])
    ['a', 'news.2019', 'b.txt', 'b.md']
    >>> topic_names([Path("a.md"), Path("a.txt"), Path("a.txt.bak")])
    ['a.md', 'a.txt', 'a.txt.bak']
    """
    names = [Path(path.name.removesuffix(".gz")).stem for path in paths]
    while True:  # a whole name may equal another's short one: of a.md, a.txt and a.txt.bak
        twice = {name for name in names if names.count(name) > 1}
        if not twice:
            return names
        names = [path.name if name in twice else name for name, path in zip(names, paths, strict=True)]


def embedded_texts() -> dict[str, str]:
    """The topics of ``help()``, and the docstrings of each package of the standard library; a
    little differs between versions.

    See `library_docstrings`.
    """
    return {
        **{name: "\n\n".join(found) for name, found in library_docstrings().items()},
        **help_topics(),
    }


def help_topics() -> dict[str, str]:
    """The topics of ``help()``, by names such as "help(import)"."""
    from pydoc_data.topics import topics

    return {f"help({t})": topics[t] for t in topics}


def library_docstrings() -> dict[str, list[str]]:
    """The docstrings of each package of the standard library, each of them by itself.

    The sources are read, not imported. Tests and what is installed beside the library are left out.
    """
    library = Path(sysconfig.get_path("stdlib"))
    packages: dict[str, list[str]] = {}
    for path in sorted(_sources(library)):
        package = path.relative_to(library).with_suffix("").parts[0]
        packages.setdefault(package, []).extend(_docstrings(path))
    return packages


def _sources(library: Path) -> Iterator[Path]:
    """The sources below a folder but for what is left out; folders that are, and may hold ten
    thousand files, are not entered.
    """
    for folder, folders, files in os.walk(library):
        folders[:] = set(folders) - LEFT_OUT
        yield from (Path(folder, file) for file in files if file.endswith(".py") and file[:-3] not in LEFT_OUT)


def _docstrings(path: Path) -> list[str]:
    """All docstrings of a source file of Python, in no order but a fixed one; none of a file that
    this Python cannot read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in the sources
        try:
            module = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):  # the library has samples of bad code
            return []
    found = (ast.get_docstring(node) for node in _statements(module) if isinstance(node, DOCUMENTED))
    return [text for text in found if text]


def _statements(module: ast.Module) -> list[ast.AST]:
    """A module and its statements, those of the outermost block first: what `ast.walk` gives but
    for the expressions, which are most of it.
    """
    nodes: list[ast.AST] = [module]
    for node in nodes:  # which grows meanwhile
        nodes += (inner for name in BLOCKS for inner in getattr(node, name, ()))
    return nodes


def cut_documents(texts: Mapping[str, str]) -> list[Document]:
    """The documents of texts by their names; of texts that share paragraphs the shorter
    keeps them.
    """
    return _cut_all(texts)[0]


def _cut_all(texts: Mapping[str, str]) -> tuple[list[Document], int, int, int]:
    """The documents of texts; how many paragraphs there are, and how many different ones; and how
    many sentences are in no document, since they are alone below a title.
    """
    seen: set[str] = set()
    documents = []
    paragraphs = alone = 0
    for topic in sorted(texts, key=lambda name: (len(texts[name]), name)):
        for section in TITLE.split(texts[topic]):
            sentences = []
            for paragraph in PARAGRAPH.split(RULE.sub("", section)):
                flat = " ".join(paragraph.split())
                paragraphs += not is_blank(flat)
                if not is_blank(flat) and flat not in seen:
                    seen.add(flat)
                    sentences += SENTENCE.split(flat)
            alone += len(sentences) == 1
            documents += [Document(topic, part) for part in _cut(sentences)]
    return documents, paragraphs, len(seen), alone


def _cut(sentences: list[str]) -> list[list[str]]:
    """Parts of about equally many sentences; none of a single one, which has no next."""
    parts = max(1, round(len(sentences) / LENGTH))
    cuts = [len(sentences) * part // parts for part in range(parts + 1)]
    return [sentences[a:b] for a, b in zip(cuts, cuts[1:]) if b - a > 1]


def split_documents(documents: Sequence[Document]) -> tuple[list[Document], list[Document], list[Document]]:
    """To train on, to validate by (a twelfth), and to test by (a sixth), spread over all topics."""
    parts: tuple[list[Document], list[Document], list[Document]] = [], [], []
    for number, document in enumerate(documents):
        parts[{2: 1, 5: 2, 11: 2}.get(number % 12, 0)].append(document)
    return parts


def text_of(documents: Sequence[Document]) -> str:
    r"""The documents as one text, a blank line between two.

    >>> text_of([Document("a", ["One.", "Two."]), Document("b", ["Three."])])
    'One. Two.\n\nThree.'
    """
    return "\n\n".join(" ".join(document.sentences) for document in documents)
