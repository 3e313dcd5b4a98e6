"""A translator behind HTTP, on this machine: a page, and an endpoint for JSON.

    GET  /            a page to type into
    POST /translate   {"texts": ["A man sleeps."], "beam": 5}
                      answered by {"translations": ["Ein Mann schläft."]};
                      and "to": "de" of a run with several target languages

Requests that wait are translated together: threads read them, one thread translates. What is wrong
with a request is said in JSON, ``{"error": "..."}``, with its HTTP status. The standard library's
server is meant for this machine and the people one knows, not for the open internet.
"""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OverTime  # TimeoutError itself from Python 3.11 on
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from minitensor.pages import document
from toolkit.console import UserError
from toolkit.translation import Translator

__all__ = ["Limits", "Refused", "Server", "Together"]

HERE = Path(__file__).parent / "browser"
DIGITS = 18  # of a length that is looked at as a number
LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")


@dataclass(frozen=True)
class Limits:
    """What a request may ask for."""

    body: int = 1_000_000  # bytes
    texts: int = 200  # of a request
    beam: int = 10
    waiting: int = 1000  # texts that wait, of all requests
    seconds: float = 10.0  # for a request to come in
    patience: float = 120.0  # seconds that it waits for its translations


class Refused(Exception):
    """A request that is answered by an error: its status, and what to say."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class _Asked:
    """Texts of one request, and where their translations are to go."""

    texts: list[str]
    beam: int
    to: str = ""  # the target language, if there are several
    answer: Future[list[str]] = field(default_factory=Future)


class Together:
    """Translates in one thread what several ask for: all that waits, with one beam and into one
    language, at once. ``translator``: several are by their target languages.
    """

    def __init__(self, translator: Translator | Mapping[str, Translator], limits: Limits) -> None:
        self.translators = translator if isinstance(translator, Mapping) else {"": translator}
        self.translator, self.limits = next(iter(self.translators.values())), limits
        self.batches = 0  # calls of the translator so far
        self._waiting: queue.Queue[_Asked | None] = queue.Queue()
        self._count, self._lock = 0, threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def translate(self, texts: Sequence[str], beam: int, to: str = "") -> list[str]:
        """The translations of ``texts`` into the language ``to``, when it is their turn.

        Raises Refused for a text that is blank or too long, for an unknown or missing language, if
        too many wait, or if it takes too long.
        """
        self._check(texts, to)
        asked = _Asked(list(texts), beam, to)
        with self._lock:
            if self._count + len(texts) > self.limits.waiting:
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{self._count} texts wait already; ask again later")
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

    def _check(self, texts: Sequence[str], to: str) -> None:
        if to not in self.translators:
            known = ", ".join(self.translators)
            said = f'"to" must be one of: {known}' if known else 'there is one target language; leave out "to"'
            raise Refused(HTTPStatus.BAD_REQUEST, said)
        for number, text in enumerate(texts, start=1):
            if not text.strip():
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
            made = iter(self.translators[to].translate(texts, beam=beam, where="text"))
            for one in asked:
                one.answer.set_result([next(made) for _ in one.texts])
        except Exception as error:  # the thread must live on, and those who asked must hear of it
            for one in asked:
                if not one.answer.done():
                    one.answer.set_exception(error)


class Server(ThreadingHTTPServer):
    """Serves a translator, or several by their target languages, at ``host`` and ``port`` (0: a
    free one); ``serve_forever`` runs it.
    """

    daemon_threads = True
    request_queue_size = 128  # connections that may wait to be accepted; the library's 5 are reset under load

    def __init__(
        self,
        translator: Translator | Mapping[str, Translator],
        languages: tuple[str, str],
        host: str,
        port: int,
        limits: Limits | None = None,
    ) -> None:
        self.limits = Limits() if limits is None else limits
        self.together = Together(translator, self.limits)
        self.page = _page(languages, [name for name in self.together.translators if name])
        self.local = host in LOCAL
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            self.together.close()
            raise UserError(f"cannot listen at {host}, port {port}: {error}; give another --host or --port") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/"

    def server_close(self) -> None:
        """Stop listening, and translate what waits."""
        super().server_close()
        self.together.close()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Wait for what comes in no longer than the limits say."""
        super().setup()
        self.connection.settimeout(self.server.limits.seconds)

    def do_GET(self) -> None:
        """The page."""
        try:
            self._check_host()
            if self.path != "/":
                raise Refused(HTTPStatus.NOT_FOUND, "there is / and /translate")
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        except Refused as refused:
            self._refuse(refused)

    def do_POST(self) -> None:
        """The endpoint."""
        try:
            self._check_host()
            if self.path != "/translate":
                raise Refused(HTTPStatus.NOT_FOUND, "texts are sent to /translate")
            texts, beam, to = self._asked()
            found = self.server.together.translate(texts, beam, to)
            self._send_json(HTTPStatus.OK, {"translations": found})
        except Refused as refused:
            self._refuse(refused)
        except Exception as error:
            self._refuse(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}"))
            raise

    def _check_host(self) -> None:
        """A page of elsewhere, under a name that leads here, gets nothing (DNS rebinding)."""
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if self.server.local and name.lower() not in LOCAL:
            raise Refused(HTTPStatus.FORBIDDEN, "this server answers to localhost alone; see --host")

    def _asked(self) -> tuple[list[str], int, str]:
        """The texts, the beam and the target language of a request."""
        limits = self.server.limits
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, with Content-Type: application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "say the length of the body by Content-Length")
        if len(length) > DIGITS or int(length) > limits.body:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {limits.body:,} bytes; send several"
            )
        try:
            body = self.rfile.read(int(length))
        except TimeoutError:
            raise Refused(
                HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {limits.seconds:g} seconds"
            ) from None
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body is no JSON in UTF-8") from None
        return _checked(asked, limits)

    def _refuse(self, refused: Refused) -> None:
        self.close_connection = True  # what is left of the body is not read
        self._send_json(refused.status, {"error": str(refused)})

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *values: Any) -> None:
        """Say nothing: texts are nobody else's business."""


def _checked(asked: Any, limits: Limits) -> tuple[list[str], int, str]:
    """The texts, the beam and the target language, "" if not given, that JSON asks for. Raises
    Refused for anything else.
    """
    if not isinstance(asked, dict) or not {"texts"} <= asked.keys() <= {"texts", "beam", "to"}:
        raise Refused(HTTPStatus.BAD_REQUEST, 'send {"texts": ["..."]}, and "beam" if wanted')
    texts, beam, to = asked["texts"], asked.get("beam", 1), asked.get("to", "")
    if not isinstance(to, str):
        raise Refused(HTTPStatus.BAD_REQUEST, '"to" must be the name of a language, such as "de"')
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(HTTPStatus.BAD_REQUEST, '"texts" must be a list of texts')
    if any(0xD800 <= ord(letter) < 0xE000 for text in texts for letter in text):
        raise Refused(HTTPStatus.BAD_REQUEST, '"texts" must be Unicode; one has half of a pair of surrogates')
    if not 1 <= len(texts) <= limits.texts:
        raise Refused(HTTPStatus.BAD_REQUEST, f'"texts" must be 1 to {limits.texts} texts, got {len(texts)}')
    if type(beam) is not int or not 1 <= beam <= limits.beam:
        raise Refused(HTTPStatus.BAD_REQUEST, f'"beam" must be a whole number from 1 to {limits.beam}')
    return texts, beam, to


def _page(languages: tuple[str, str], targets: Sequence[str]) -> bytes:
    """The page that asks this server; ``targets`` to choose from, if there are several."""
    title = f"{languages[0]} to {languages[1]}"
    data = {"source": languages[0], "title": title, "targets": targets}
    body = '<main id="page"><noscript>This page needs JavaScript.</noscript></main>'
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "served.js"))
    return document(title, body, style, script, data, asks=True)
