"""A translator behind HTTP, on this machine: a page, and an endpoint for JSON.

    GET  /            a page to type into
    POST /translate   {"texts": ["A man sleeps."], "beam": 5}
                      answered by {"translations": ["Ein Mann schläft."], "cut_off": [false]},
                      true if it ends at the longest length that the model was trained for, and not
                      by itself; and "to": "de" of a run with several target languages

Requests that wait are translated together: threads read them, one thread translates. What is wrong
with a request is said in JSON, ``{"error": "..."}``, with its HTTP status, and HEAD is answered as
GET without the page. The standard library's
server is meant for this machine and the people one knows, not for the open internet.
"""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from minitensor.files.json_text import RepeatedNameError, parse
from toolkit.browser import translating_page
from toolkit.console import UserError, unmarked
from toolkit.queueing import Limits, Refused, Together
from toolkit.reading import as_line, composed
from toolkit.translator import Translator

__all__ = ["Server"]

DIGITS = 18  # of a length that is looked at as a number
PLACES = {"/": "GET, HEAD", "/translate": "POST"}  # what is here, and the methods that each allows
LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")


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
        targets = list(self.together.translators)
        self.page = _page(languages, targets if len(targets) > 1 else [])
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


class _Incoming(io.RawIOBase):
    """What comes in on a connection. From `allow` on some seconds may go by, however it comes in;
    when they are over it raises TimeoutError, and is ``late``.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        super().__init__()
        self.connection, self.seconds = connection, seconds
        self.allow()

    def allow(self) -> None:
        """Give what comes in from now on all the time that there is."""
        self.end, self.late = time.monotonic() + self.seconds, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for bytes, and put them into ``buffer``; their number, 0 at the end."""
        left = self.end - time.monotonic()
        self.late = left <= 0
        if self.late:
            raise TimeoutError("timed out")
        self.connection.settimeout(left)
        try:
            return self.connection.recv_into(buffer)
        except TimeoutError:
            self.late = True
            raise
        finally:
            self.connection.settimeout(self.seconds)  # of what is written


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Wait for what comes in no longer than the limits say."""
        super().setup()
        self.rfile.close()
        self.incoming = _Incoming(self.connection, self.server.limits.seconds)
        self.rfile: io.BufferedReader = io.BufferedReader(self.incoming)

    def handle_one_request(self) -> None:
        """Wait for a request, read it and answer it; that somebody has gone away is no error."""
        self.incoming.allow()
        self.command, self.requestline, self.refused = "", "", False
        try:
            self.rfile.peek(1)  # its first bytes, which are here already if it was sent with the one before
            self.incoming.allow()
            super().handle_one_request()  # which closes without a word if the first line is late
            if self.incoming.late and not (self.requestline or self.refused):
                self.send_error(HTTPStatus.REQUEST_TIMEOUT, self._late("first line"))
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def parse_request(self) -> bool:
        """Read the headers; False, and an answer, if they are wrong or do not come in time."""
        try:
            return super().parse_request()
        except TimeoutError:
            self.send_error(HTTPStatus.REQUEST_TIMEOUT, self._late("headers"))
            return False

    def do_GET(self) -> None:
        """The page. A body that comes with such a request is not read; no other can follow it."""
        self.close_connection |= not {"Content-Length", "Transfer-Encoding"}.isdisjoint(self.headers.keys())
        try:
            self._check_place()
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        except Refused as refused:
            self._refuse(refused)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """The endpoint."""
        try:
            self._check_place()
            texts, beam, to = self._asked()
            found = self.server.together.translate(texts, beam, to)
            self._send_json(HTTPStatus.OK, {"translations": found.translations, "cut_off": found.cut_off})
        except Refused as refused:
            self._refuse(refused)
        except (ConnectionError, TimeoutError):  # nobody reads the answer
            raise
        except Exception as error:
            self._refuse(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}"))
            raise

    def _other(self) -> None:
        """A method that nothing here allows."""
        try:
            self._check_place()
        except Refused as refused:
            self._refuse(refused)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _other

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses, such as a line that is no request, in JSON too."""
        status = HTTPStatus(code)
        self.request_version = self.protocol_version  # until one is understood it is 0.9, which has no headers
        self._refuse(Refused(status, message or status.phrase))

    def _check_place(self) -> None:
        """Raise Refused for a host, a path or a method that is not served."""
        self._check_host()
        place = self.path.partition("?")[0]
        if place not in PLACES:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is {' and '.join(PLACES)}")
        allowed = PLACES[place]
        if self.command not in allowed.split(", "):
            message = f"{place} is for {allowed}, not {self.command}"
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, message, {"Allow": allowed})

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
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) > 1 or (lengths and "Transfer-Encoding" in self.headers):
            raise Refused(HTTPStatus.BAD_REQUEST, "say the length of the body once, by one Content-Length")
        length = "".join(lengths).strip()
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "say the length of the body by Content-Length")
        if len(length) > DIGITS or int(length) > limits.body:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {limits.body:,} bytes; send several"
            )
        try:
            body = self.rfile.read(int(length))
        except TimeoutError:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, self._late("body")) from None
        if len(body) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body):,} of {int(length):,} bytes")
        try:
            asked = parse(body)
        except RepeatedNameError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
        except ValueError:
            raise Refused(HTTPStatus.BAD_REQUEST, "the body is no JSON in UTF-8") from None
        return _checked(asked, limits)

    def _late(self, what: str) -> str:
        return f"the {what} did not come within {self.server.limits.seconds:g} seconds of the request"

    def _refuse(self, refused: Refused) -> None:
        """Say why, and that the connection ends. What still comes is thrown away, as long as a
        request may take: a client that goes on writing would see a broken pipe, and no answer.
        """
        self.close_connection = self.refused = True
        self._send_json(refused.status, {"error": str(refused)}, refused.headers)
        try:
            self.connection.shutdown(socket.SHUT_WR)
            while self.rfile.read1(1 << 16):
                pass
        except OSError:  # the time is over, or the client has gone
            pass

    def _send_json(self, status: HTTPStatus, value: Any, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        self._send(status, content, "application/json", headers)

    def _send(self, status: HTTPStatus, content: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer; HEAD gets no content, with the headers of GET."""
        self.send_response(status)
        about = {"Content-Type": kind, "Content-Length": str(len(content)), "X-Content-Type-Options": "nosniff"}
        for name, value in {**about, **(headers or {})}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *values: Any) -> None:
        """Say nothing: texts are nobody else's business."""


def _checked(asked: Any, limits: Limits) -> tuple[list[str], int, str]:
    """The texts, the beam and the target language, "" if not given, that JSON asks for. Raises
    Refused for anything else.
    """
    if not isinstance(asked, dict) or not {"texts"} <= asked.keys() <= {"texts", "beam", "to"}:
        raise Refused(HTTPStatus.BAD_REQUEST, 'send {"texts": ["..."]}, and "beam" and "to" if wanted')
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
    return [as_line(unmarked(text)) for text in texts], beam, composed(unmarked(to))


def _page(languages: tuple[str, str], targets: Sequence[str]) -> bytes:
    """The page that asks this server; ``targets`` to choose from, if there are several."""
    source, target = languages
    contents = {"source": source, "target": target, "targets": targets}
    return translating_page(languages, contents, "blank.js", "form.js", "served.js", asks=True)
