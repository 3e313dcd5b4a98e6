"""`translate.py serve`: many requests at once, bad ones, and who is answered."""

import http.client
import json
import re
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import pytest
import translate
from exported import LONGEST, Small, sentences
from scripts import caller, unreported
from toolkit import translator
from toolkit.console import UserError
from toolkit.queueing import Limits, Made, Refused, Together
from toolkit.serving import Server

call = caller(translate.main)
LIMITS = Limits(body=3000, texts=5, waiting=400, seconds=20.0, patience=20.0)
TEXTS = [source for source, _ in sentences(seed=2, count=12)]


class Translator(Small, translator.Translator):
    """Of random weights."""

    def __init__(self):
        Small.__init__(self, "gru")


@pytest.fixture(scope="module")
def server():
    with Server(Translator(), ("en", "fr"), "127.0.0.1", 0, LIMITS) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def ask(server, body, method="POST", path="/translate", **headers):
    """The status and the answer."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, content, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if answer.getheader("Content-Type") == "application/json" else text


def test_it_translates_as_python_does(server):
    translator = server.together.translators[""]
    for beam in (1, 3):
        status, found = ask(server, {"texts": TEXTS[:4], "beam": beam})
        assert (status, found["translations"]) == (200, translator.translate(TEXTS[:4], beam=beam))
    assert ask(server, {"texts": ["Ein\u2028e Kätzchen 猫"]})[0] == 200


def test_many_at_once_get_their_own_and_share_the_work(server):
    alone = {text: server.together.translators[""].translate([text])[0] for text in TEXTS}
    before = server.together.batches
    asked = [[TEXTS[n % 12], TEXTS[(5 * n + 1) % 12]] for n in range(40)]
    with ThreadPoolExecutor(40) as threads:
        found = list(threads.map(lambda texts: ask(server, {"texts": texts}), asked))
    assert [answer["translations"] for _, answer in found] == [[alone[text] for text in texts] for texts in asked]
    assert server.together.batches - before < 40


def test_what_is_cut_off_is_told_with_the_answer_and_not_on_the_terminal(server, monkeypatch, capsys):
    texts = [f"{n} cats." for n in range(5)]
    lengths = iter([LONGEST - 1, LONGEST, 3, LONGEST, 0])
    monkeypatch.setattr(translator, "decode", lambda _, ids, *how, **more: [[[60] * next(lengths)] for _ in ids])
    status, found = ask(server, {"texts": texts})
    assert (status, found["cut_off"]) == (200, [False, True, False, True, False]) and len(found["translations"]) == 5
    assert not capsys.readouterr().err


BAD = {
    "no JSON": (b"{", 400, "no JSON"),
    "twice": (b'{"texts": ["a"], "beam": 1, "beam": 2}', 400, '"beam" stands twice, as 1 and as 2'),
    "not UTF-8": (b'{"texts": ["\xff"]}', 400, "no JSON"),
    "deep": (b"[" * 2900, 400, "no JSON"),
    "a list": ([], 400, 'send {"texts"'),
    "unknown": ({"texts": ["a"], "bean": 3}, 400, 'send {"texts"'),
    "a text": ({"texts": "a"}, 400, "must be a list of texts"),
    "numbers": ({"texts": [1]}, 400, "must be a list of texts"),
    "none": ({"texts": []}, 400, "must be 1 to 5 texts, got 0"),
    "half": (b'{"texts": ["\\ud800 dog"]}', 400, "half of a pair of surrogates"),
    "many": ({"texts": ["a"] * 6}, 400, "got 6"),
    "blank": ({"texts": ["a", " "]}, 400, "text 2 is blank"),
    "long": ({"texts": ["cat " * 60]}, 400, f"the model allows {LONGEST - 1}"),
    "beam 0": ({"texts": ["a"], "beam": 0}, 400, "from 1 to 10"),
    "beam true": ({"texts": ["a"], "beam": True}, 400, "from 1 to 10"),
    "large": ({"texts": ["a" * 4000]}, 413, "at most 3,000 bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_told_what_is_wrong(server, case):
    body, status, said = BAD[case]
    found, answer = ask(server, body)
    assert found == status and said in answer["error"]
    assert ask(server, {"texts": TEXTS[:1]})[0] == 200  # the server lives on


def test_who_and_what_is_answered(server):
    assert (
        b"<textarea" not in ask(server, b"", "GET", "/")[1] and b"connect-src 'self'" in ask(server, b"", "GET", "/")[1]
    )
    for method, path, headers, status in (
        ("GET", "/x", {}, 404), ("POST", "/x", {}, 404), ("GET", "/?x=1", {}, 200),
        ("GET", "/", {"Host": "evil.example"}, 403), ("POST", "/translate", {"Host": "evil.example:80"}, 403),
        ("POST", "/translate", {"Content-Type": "text/plain"}, 415), ("POST", "/translate", {"Content-Length": "-1"}, 411),
        ("GET", "/", {"Host": "localhost:1"}, 200), ("POST", "/translate", {"Content-Length": "9" * 5000}, 413),
    ):  # fmt: skip
        assert ask(server, {"texts": ["a"]}, method, path, **headers)[0] == status, (method, path, headers)


def test_a_byte_order_mark_is_no_part_of_a_text(server):
    plain = ask(server, {"texts": TEXTS[:1]})
    assert ask(server, {"texts": ["\ufeff" + TEXTS[0]]}) == plain
    assert ask(server, b"\xef\xbb\xbf" + json.dumps({"texts": TEXTS[:1]}).encode()) == plain


def test_a_text_is_what_a_line_of_a_file_is(server):
    """Without blanks at either end, and composed, as on the command line."""
    translator = server.together.translators[""]
    (expected,) = translator.translate(["Un été."])
    assert ask(server, {"texts": ["\u3000Un e\u0301te\u0301.\x85 "]}) == (
        200,
        {"translations": [expected], "cut_off": [True]},
    )
    asked = []
    with patch.object(
        translator, "translate", lambda texts, cut, **_: asked.extend(texts) or cut.extend([False] * 2) or texts
    ):
        ask(server, {"texts": [" \ufeffA", "\ufeff e\u0301 "]})
    assert asked == ["\ufeffA", "é"]


def test_other_methods_are_told_which_are_allowed(server):
    """HEAD has the headers of GET alone; what the library itself refuses is JSON too."""
    for method, path, allowed in (
        ("PUT", "/translate", "POST"), ("DELETE", "/", "GET, HEAD"), ("GET", "/translate", "POST"),
        ("POST", "/", "GET, HEAD"), ("HEAD", "/translate", "POST"), ("OPTIONS", "/", "GET, HEAD"),
    ):  # fmt: skip
        status, headers, content = answered(server, method, path)
        assert (status, headers["Allow"], headers["Content-Type"]) == (405, allowed, "application/json")
        assert content == b"" if method == "HEAD" else f"is for {allowed}, not {method}" in json.loads(content)["error"]
    status, headers, content = answered(server, "HEAD", "/")
    assert (status, headers["Content-Length"], content) == (200, str(len(server.page)), b"")
    status, headers, content = answered(server, "BREW", "/")
    assert (status, headers["Content-Type"]) == (501, "application/json") and "BREW" in json.loads(content)["error"]
    for line in (b"GET\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 70_000):
        with socket.create_connection(server.server_address[:2], timeout=20) as connection:
            connection.sendall(line)
            head, _, content = b"".join(iter(lambda: connection.recv(4096), b"")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ") and json.loads(content)["error"], line[:20]


def answered(server, method, path):
    """The status, the headers and the content."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    connection.request(method, path)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


HEAD = b"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def hasty(server):
    """A server that waits for a request no longer than a second."""
    with Server(server.together.translators[""], ("en", "fr"), "127.0.0.1", 0, Limits(seconds=1.0)) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.mark.parametrize("part", ["body", "headers"])
@pytest.mark.parametrize("dribbles", [False, True])
def test_a_request_that_does_not_come_is_not_waited_for(hasty, part, dribbles):
    """Nor one of which a byte or a line comes now and then: the limit is for all of it."""
    whole, more = (HEAD + b"Content-Length: 99\r\n\r\n", b" ") if part == "body" else (HEAD, b"X: y\r\n")
    with socket.create_connection(hasty.server_address[:2], timeout=20) as connection:
        started = time.monotonic()
        connection.sendall(whole)
        connection.settimeout(0.3)
        answer = b""
        while not answer and time.monotonic() < started + 10:
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                if dribbles:
                    connection.sendall(more)
        connection.settimeout(20)
        answer += b"".join(iter(lambda: connection.recv(4096), b""))
        assert b" 408 " in answer.split(b"\r\n")[0] and 0.9 < time.monotonic() - started < 5
        assert f"the {part} did not come within 1 seconds".encode() in answer


def answers(server, *parts, pause=0.0, end=True):
    """All that comes back for bytes that are sent in parts."""
    with socket.create_connection(server.server_address[:2], timeout=20) as connection:
        for n, part in enumerate(parts):
            time.sleep(pause if n else 0)
            connection.sendall(part)
        if end:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_a_first_line_that_is_late_is_answered_too(hasty):
    answer = answers(hasty, b"POST /tra", end=False)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"the first line did not come within 1 seconds" in answer
    assert answers(hasty, end=False) == b""  # nothing was asked


def test_a_request_that_is_sent_with_the_one_before_has_no_more_time(hasty):
    body = json.dumps({"texts": TEXTS[:1]}).encode()
    whole = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    assert answers(hasty, whole + whole).count(b"HTTP/1.1 200 ") == 2
    answer = answers(hasty, whole + whole[:40], whole[40:60], whole[60:], pause=0.7, end=False)
    assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"200", b"408"]


def test_a_body_that_is_far_too_large_is_answered(server):
    assert ask(server, b"x" * 8_000_000) == (413, {"error": "a body has at most 3,000 bytes; send several"})


def test_a_body_is_as_long_as_is_said(server):
    body = json.dumps({"texts": TEXTS[:1]}).encode()
    head = HEAD + f"Content-Length:   {len(body)}  \r\n\r\n".encode()
    assert answers(server, head + body).startswith(b"HTTP/1.1 200 ")
    answer = answers(server, head + body[:-2])
    assert (
        answer.startswith(b"HTTP/1.1 400 ") and f"ended after {len(body) - 2} of {len(body)} bytes".encode() in answer
    )


def test_what_comes_with_a_request_for_the_page_is_not_taken_for_another(server):
    get = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
    answer = answers(server, get + get.replace(b"Content-Length: 3", b"X: y"))
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.count(b"HTTP/1.1") == 1 and b"Connection: close" in answer


def test_a_connection_that_is_kept_has_the_time_anew(hasty):
    connection = http.client.HTTPConnection(*hasty.server_address[:2], timeout=30)
    for _ in range(3):
        time.sleep(0.6)
        connection.request("GET", "/")
        assert connection.getresponse().read() == hasty.page
    connection.close()


def test_a_length_is_said_once(server):
    body = json.dumps({"texts": TEXTS[:1]}).encode()
    length = f"Content-Length: {len(body)}\r\n".encode()
    other, chunked = b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"
    cases = (length, 200), (length * 2, 400), (length + other, 400), (length + chunked, 400), (chunked, 411)
    for headers, status in cases:
        with socket.create_connection(server.server_address[:2], timeout=20) as connection:
            connection.sendall(HEAD + headers + b"\r\n" + body)
            assert f" {status} ".encode() in connection.recv(4096).split(b"\r\n")[0], headers


@pytest.mark.parametrize("where", ["in the headers", "in the body", "before the answer"])
def test_who_goes_away_is_no_error(server, where, capfd, monkeypatch):
    """No traceback, and the server lives on."""
    ended = threading.Event()
    shut = server.shutdown_request
    monkeypatch.setattr(server, "shutdown_request", lambda request: (shut(request), ended.set()))
    body = json.dumps({"texts": TEXTS[:5]}).encode()
    whole = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    going = threading.Event()
    translate = server.together.translate
    monkeypatch.setattr(server.together, "translate", lambda *asked: (translate(*asked), going.wait(20))[0])
    with socket.create_connection(server.server_address[:2], timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing it is a reset
        connection.sendall({"in the headers": HEAD, "in the body": whole[:-9], "before the answer": whole}[where])
        time.sleep(0.2)
    going.set()
    assert ended.wait(20)
    assert ask(server, {"texts": TEXTS[:1]})[0] == 200 and capfd.readouterr().err == ""


class Slow:
    """A translator that waits until it is let go."""

    def __init__(self):
        self.go, self.calls = threading.Event(), []

    def encode(self, texts, where):
        return [[3]] * len(texts)

    def translate(self, texts, beam=1, *, cut, **_):
        self.go.wait(10)
        cut.extend(text == "y" for text in texts)
        self.calls.append(list(texts))
        if "bad" in texts:
            raise FloatingPointError("spoilt")
        return [text.upper() for text in texts]


def test_too_many_and_too_slow_are_refused_and_failures_are_heard():
    slow = Slow()
    together = Together(slow, Limits(waiting=3, patience=0.2))
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(together.translate, ["a"], 1)
        while not together._count:
            time.sleep(0.01)
        time.sleep(0.05)  # the first is being translated, the next wait
        second = threads.submit(together.translate, ["b", "c"], 1)
        while together._count < 3:
            time.sleep(0.01)
        with pytest.raises(Refused, match="3 texts waiting already"):
            together.translate(["d"], 1)
        with pytest.raises(Refused, match=r"no translation within 0\.2 seconds"):
            second.result()
        with pytest.raises(Refused, match="no translation within"):
            first.result()
    slow.go.set()
    while together._count:
        time.sleep(0.01)
    assert slow.calls == [["a"]]  # what nobody waits for any more is not translated
    with pytest.raises(FloatingPointError, match="spoilt"):
        together.translate(["bad"], 1)
    assert together.translate(["x"], 1) == Made(["X"], [False])
    together.close()


def test_each_request_hears_what_of_its_own_is_cut_off():
    slow = Slow()
    together = Together(slow, Limits(patience=20.0))
    with ThreadPoolExecutor(3) as threads:
        threads.submit(together.translate, ["a"], 1)
        while not together._count:
            time.sleep(0.01)
        time.sleep(0.05)  # the first is being translated, the next two wait
        asked = [threads.submit(together.translate, texts, 1) for texts in (["y", "b"], ["c", "y", "y"])]
        while together._count < 6:
            time.sleep(0.01)
        slow.go.set()
        assert [one.result() for one in asked] == [
            Made(["Y", "B"], [True, False]), Made(["C", "Y", "Y"], [False, True, True]),
        ]  # fmt: skip
    assert together.batches == 2
    together.close()


def test_a_port_that_is_taken_is_told(server):
    with pytest.raises(UserError, match="cannot listen at 127.0.0.1, port"):
        Server(server.together.translators[""], ("en", "fr"), "127.0.0.1", server.server_address[1])


def test_serve_from_the_command_line(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    data = tmp_path / "pairs.tsv"
    data.write_text("".join(f"{one}\t{other}\n" for one, other in sentences(count=60)), encoding="utf-8")
    tiny = "--arch gru --d-model 8 --hidden 8 --vocab 300 --max-length 100 --warmup 2 --steps 2".split()
    assert unreported(call)("train", "--data", data, "--source", "en", "--target", "fr", "--out", run, *tiny) == 0
    seen = []

    def once(server):
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        seen.append(ask(server, {"texts": ["A cat."]}))
        thread.join()
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", once)
    assert call("serve", "--run", run, "--port", 0) == 130
    assert seen[0][0] == 200 and "translates en to fr; Ctrl-C ends it" in capsys.readouterr().out
