"""Translating together what several people ask for at once, in one thread; the others wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OverTime  # TimeoutError itself from Python 3.11 on
from dataclasses import dataclass, field
from http import HTTPStatus

from toolkit.blank import is_blank
from toolkit.console import UserError, counted
from toolkit.language_names import same_language
from toolkit.translator import Translator

__all__ = ["Limits", "Made", "Refused", "Together"]


@dataclass(frozen=True)
class Limits:
    """What a request may ask for."""

    body: int = 1_000_000  # bytes
    texts: int = 200  # of a request
    beam: int = 10
    waiting: int = 1000  # texts that wait, of all requests
    seconds: float = 10.0  # for a request to come in, all of it
    patience: float = 120.0  # seconds that it waits for its translations


class Refused(Exception):
    """A request that is answered by an error: its status, what to say, and further headers."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True)
class Made:
    """The translations of a request, and for each whether it is cut off at the longest length."""

    translations: list[str]
    cut_off: list[bool]


@dataclass
class _Asked:
    """Texts of one request, and where their translations are to go."""

    texts: list[str]
    beam: int
    to: str = ""  # the target language, if there are several
    answer: Future[Made] = field(default_factory=Future)


class Together:
    """Translates in one thread what several ask for: all that waits, with one beam and into one
    language, at once. ``translator``: several are by their target languages.
    """

    def __init__(self, translator: Translator | Mapping[str, Translator], limits: Limits) -> None:
        self.translators = translator if isinstance(translator, Mapping) else {"": translator}
        self.limits = limits
        self.batches = 0  # calls of the translator so far
        self._waiting: queue.Queue[_Asked | None] = queue.Queue()
        self._count, self._lock = 0, threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def translate(self, texts: Sequence[str], beam: int, to: str = "") -> Made:
        """The translations of ``texts`` into the language ``to``, by any of its names, when it is
        their turn; "" is the only one.

        Raises Refused for a text that is blank or too long, for an unknown or missing language, if
        too many wait, or if it takes too long.
        """
        to = self._named(to)
        self._check(texts, to)
        asked = _Asked(list(texts), beam, to)
        with self._lock:
            if self._count + len(texts) > self.limits.waiting:
                raise Refused(
                    HTTPStatus.SERVICE_UNAVAILABLE, f"{counted(self._count, 'text')} waiting already; ask again later"
                )
            self._count += len(texts)
        self._waiting.put(asked)
        try:
            return asked.answer.result(self.limits.patience)
        except OverTime:
            asked.answer.cancel()
            message = f"no translation within {self.limits.patience:g} seconds; ask for fewer texts, or later"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, message) from None

    def close(self) -> None:
        """End when what waits is done."""
        self._waiting.put(None)
        self._thread.join()

    def _named(self, to: str) -> str:
        """The target language that ``to`` names, as --to of `targets.one_target` does."""
        known = list(self.translators)
        if to in known:
            return to
        found = [name for name in known if name and same_language(name, to)] if to else known
        if len(found) != 1:
            names = ", ".join(filter(None, known))
            said = f'"to" must be one of: {names}' if names else 'there is one target language; leave out "to"'
            raise Refused(HTTPStatus.BAD_REQUEST, said)
        return found[0]

    def _check(self, texts: Sequence[str], to: str) -> None:
        for number, text in enumerate(texts, start=1):
            if is_blank(text):
                raise Refused(HTTPStatus.BAD_REQUEST, f"text {number} is blank; there is nothing to translate")
        try:
            self.translators[to].encode(texts, "text")
        except UserError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            ends, gathered = False, [first]
            while not self._waiting.empty():
                more = self._waiting.get()
                if more is None:
                    ends = True
                    break
                gathered.append(more)
            for beam, to in sorted({(one.beam, one.to) for one in gathered}):
                self._answer([one for one in gathered if (one.beam, one.to) == (beam, to)], beam, to)
            with self._lock:
                self._count -= sum(len(one.texts) for one in gathered)
            if ends:
                return

    def _answer(self, asked: list[_Asked], beam: int, to: str) -> None:
        """Translate the texts of several requests, and give each its own."""
        asked = [one for one in asked if one.answer.set_running_or_notify_cancel()]
        texts = [text for one in asked for text in one.texts]
        if not texts:
            return
        try:
            self.batches += 1
            cut: list[bool] = []
            made = self.translators[to].translate(texts, beam=beam, where="text", cut=cut)
            found = iter(zip(made, cut, strict=True))
            for one in asked:
                translations, cut_off = zip(*(next(found) for _ in one.texts), strict=True)
                one.answer.set_result(Made(list(translations), list(cut_off)))
        except Exception as error:  # the thread must live on, and those who asked must hear of it
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(error)
