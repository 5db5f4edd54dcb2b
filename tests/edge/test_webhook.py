"""Changes of state POSTed to servers of every kind, each a real one on this machine."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path

import pytest
from test_on_change import change

from conftest import classify_here, needs_programs
from edge_classify import Webhook, __version__
from edge_classify.outputs import http_post, webhook
from edge_classify.outputs.queue import MAX_WAITING


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the pauses between tries; at first there is one try only."""

    def set_pauses(*seconds: float) -> None:
        monkeypatch.setattr(webhook, "_PAUSES_S", seconds)

    set_pauses()
    return set_pauses


@dataclass
class Server:
    """An HTTP server that gives these answers in turn, (status, headers), and 200 after them."""

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    context: ssl.SSLContext | None = None
    scheme: str = "http"
    port: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/changes?room=1"

    def states(self) -> list[str]:
        return [json.loads(body)["state"] for _, _, body in self.received]


def serve(server: Server) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.received.append((self.path, dict(self.headers), body))
            status, headers = server.answers.pop(0) if server.answers else (200, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    found = ThreadingHTTPServer(("localhost", 0), Handler)
    found.daemon_threads = True
    if server.context is not None:
        found.socket = server.context.wrap_socket(found.socket, server_side=True)
        server.scheme = "https"
    server.port = found.server_port
    threading.Thread(target=found.serve_forever, daemon=True).start()
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    found = serve(running)
    yield running
    found.shutdown()
    found.server_close()


def send(url: str, *states: str, **settings: object) -> dict[str, int]:
    """Send changes to these states, wait for all, and return what is counted."""
    with Webhook(url, live=True, **settings) as output:
        for number, state in enumerate(states):
            output.append(change(number, state))
        assert output._queue.drain(60)
    return output.counts()


LOST = "changes not sent to the webhook"


def test_the_command_posts_each_change(command, server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "token").chmod(0o600)
    words = ("--webhook", server.url, "--webhook-token-file", tmp_path / "token")
    done = command("edge-classify", "--camera", "demo", "--count", 60, "--json", *words)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert server.states() == [state for state, _ in groupby(result["state"] for result in results)]
    path, headers, body = server.received[0]
    assert path == "/changes?room=1"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == f"edge-classify/{__version__}"
    assert headers["Authorization"] == "Bearer s3cret"
    assert list(json.loads(body)) == [
        "time", "frame", "source", "model", "state", "score", "previous", "previous_seconds"
    ]  # fmt: skip
    assert "everybody on the way can read the token" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert "room" not in done.stdout + done.stderr


def test_what_may_be_better_later_is_tried_again_under_the_same_key_and_nothing_overtakes(
    server: Server, caplog: pytest.LogCaptureFixture, pauses: Callable[..., None]
) -> None:
    pauses(0.01, 0.01, 0.01)
    server.answers = [(500, {}), (503, {}), (429, {"Retry-After": "0"}), (200, {})]
    assert send(server.url, "猫", "cup") == {LOST: 0}
    assert server.states() == ["猫"] * 4 + ["cup"]
    keys = [headers["Idempotency-Key"] for _, headers, _ in server.received]
    assert len(set(keys[:4])) == 1
    assert keys[4] != keys[0]
    assert caplog.messages[0] == f"webhook http://localhost:{server.port}: answers 500; trying again"


def test_a_server_that_asks_for_patience_gets_it(server: Server, pauses: Callable[..., None]) -> None:
    pauses(0.01)
    server.answers = [(429, {"Retry-After": "1"})]
    began = time.monotonic()
    assert send(server.url, "cup") == {LOST: 0}
    assert time.monotonic() - began >= 1
    assert http_post._seconds("Fri, 31 Dec 2100 23:59:59 GMT") > 1e9
    assert http_post._seconds("soon") == 0


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (400, {}, "answers 400; this change is lost"),
        (401, {}, r"answers 401: it wants a token \(--webhook-token-file\), or another one; this change is lost"),
        (404, {}, "answers 404: it does not know this address; this change is lost"),
        (
            307,
            {"Location": "http://elsewhere.invalid/secret-path"},
            "answers 307 and sends elsewhere to http://elsewhere.invalid, which is not followed: check the address; ",
        ),
    ],
)
def test_what_the_server_does_not_want_is_not_sent_again(
    status: int, headers: dict[str, str], message: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [(status, headers)]
    assert send(server.url, "cup", "keys") == {LOST: 1}
    assert server.states() == ["cup", "keys"]
    (warning,) = caplog.messages
    assert re.match(f"webhook http://localhost:{server.port}: {message}", warning)
    assert "secret" not in warning


def test_a_server_that_stays_broken_loses_changes_which_are_counted(
    server: Server, caplog: pytest.LogCaptureFixture, pauses: Callable[..., None]
) -> None:
    pauses(0.01, 0.01, 0.01)
    server.answers = [(500, {})] * 4
    assert send(server.url, "cup", "keys") == {LOST: 1}
    assert server.states() == ["cup"] * 4 + ["keys"]
    assert [message.rpartition("; ")[2] for message in caplog.messages] == ["trying again", "this change is lost"]


def silent(connection: socket.socket) -> None:
    connection.recv(1)
    time.sleep(30)


def dripping(connection: socket.socket) -> None:
    for _ in range(300):
        connection.sendall(b"H")
        time.sleep(0.1)


def endless_header(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.05)


def gigabyte(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        connection.sendall(bytes(1 << 20))


def nonsense(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def hangs_up(connection: socket.socket) -> None:
    connection.recv(65536)


@pytest.mark.parametrize(
    ("behave", "scheme", "message"),
    [
        (silent, "http", "no answer within 0.5 s"),
        (silent, "https", "no answer within 0.5 s"),
        (dripping, "http", "no answer within 0.5 s"),
        (endless_header, "http", "no answer within 0.5 s"),
        (nonsense, "http", "its answer is not HTTP: check the address"),
        (nonsense, "https", "no secure connection .*: does it speak https"),
        (hangs_up, "http", "the connection was cut off"),
        (gigabyte, "http", None),
    ],
)
def test_whatever_a_server_does_ends_in_time(
    behave: Callable[[socket.socket], None],
    scheme: str,
    message: str | None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "_TIME_LIMIT_S", 0.5 if message and "0.5" in message else 60.0)

    def accept() -> None:
        with suppress(OSError):  # the test has ended, or the other side has
            connection, _ = listener.accept()
            with connection:
                behave(connection)

    with socket.create_server(("localhost", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        lost = send(f"{scheme}://localhost:{listener.getsockname()[1]}/", "cup")
    assert lost == {LOST: 0 if message is None else 1}
    assert len(caplog.messages) == lost[LOST]
    assert all(re.search(f": {message}.*; this change is lost$", text) for text in caplog.messages)


def test_a_port_that_is_closed_or_never_answers_or_a_name_that_does_not_resolve_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_TIME_LIMIT_S", 0.5)
    with socket.socket() as full:
        # Nobody accepts, and the queue of connections is full: further ones get no answer at all.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        assert send(f"http://127.0.0.1:{port}/", "cup") == {LOST: 1}
        for filler in fillers:
            filler.close()
    assert send(f"http://127.0.0.1:{port}/", "cup") == {LOST: 1}
    assert send("http://no-such-host.invalid/", "cup") == {LOST: 1}
    assert [re.sub(r"^webhook \S+: ", "", text) for text in caplog.messages[:2]] == [
        "no answer within 0.5 s; this change is lost",
        "connection refused: nothing listens there; this change is lost",
    ]
    assert re.search(r"its name does not resolve \(.*\): check it, and the network", caplog.messages[2])


def test_a_server_that_is_away_holds_up_no_result_and_the_newest_changes_wait(
    server: Server, pauses: Callable[..., None]
) -> None:
    server.answers = [(503, {})]
    pauses(2.0)
    output = Webhook(server.url, live=True)
    output.append(change(0, "0"))
    for number in range(1, 3 * MAX_WAITING):
        output.append(change(number, f"{number}"))
    assert output._queue.drain(60)
    output.__exit__(None, None, None)
    sent = server.states()[1:]
    assert sent[-MAX_WAITING:] == [f"{number}" for number in range(2 * MAX_WAITING, 3 * MAX_WAITING)]
    assert output.counts() == {LOST: 3 * MAX_WAITING - len(sent)}


def test_ending_does_not_wait_for_a_server_that_is_away_and_counts_what_it_has_not_got(
    server: Server, pauses: Callable[..., None]
) -> None:
    pauses(1000.0)
    server.answers = [(503, {"Retry-After": "1000"})]
    with Webhook(server.url, live=True) as output:
        for number in range(10):
            output.append(change(number, f"{number}"))
    assert output.counts() == {LOST: 10}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """localhost.pem and expired.pem, both of key.pem and signed by themselves, and other.pem."""
    needs_programs("openssl")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True, timeout=60)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    openssl(*new, *names, "-keyout", "key.pem", "-out", "localhost.pem")
    openssl(*new, *names, "-keyout", "other_key.pem", "-out", "other.pem")
    openssl("x509", "-in", "localhost.pem", "-signkey", "key.pem", "-days", "-1", "-out", "expired.pem")
    return folder


@pytest.mark.parametrize(
    ("certificate", "authority", "host", "message"),
    [
        ("localhost", "localhost", "localhost", None),
        ("localhost", None, "localhost", "is signed by nobody that this machine knows: --webhook-ca FILE"),
        ("localhost", "other", "localhost", "is signed by nobody that this machine knows: --webhook-ca FILE"),
        ("localhost", "localhost", "127.0.0.1", "is for another host: use the name that it was made for"),
        ("expired", "expired", "localhost", "has expired, or this machine's clock is wrong"),
    ],
)
def test_certificates_are_checked(
    certificate: str,
    authority: str | None,
    host: str,
    message: str | None,
    certificates: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / f"{certificate}.pem", certificates / "key.pem")
    running = Server(context=context)
    found = serve(running)
    path = None if authority is None else str(certificates / f"{authority}.pem")
    lost = send(running.url.replace("localhost", host), "cup", authority=path)
    found.shutdown()
    found.server_close()
    assert lost == {LOST: 0 if message is None else 1}
    assert running.states() == ([] if message else ["cup"])
    assert len(caplog.messages) == lost[LOST]
    assert all(f"its certificate {message}" in text for text in caplog.messages)


def test_a_damaged_file_of_certificates_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    assert send("https://localhost:1/", "cup", authority=str(path)) == {LOST: 1}
    assert f"--webhook-ca {path}: " in caplog.messages[0]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--webhook", "example.org"], 2, "--webhook: expected an address such as https://example.org/changes"),
        (["--webhook", "ftp://example.org/x"], 2, "--webhook: expected an address such as"),
        (["--webhook", "https:///s3cret"], 2, "--webhook: expected an address such as"),
        (["--webhook", "https://me:s3cret@host/"], 2, "put a token into --webhook-token-file"),
        (["--webhook", "https://host:99999/s3cret"], 2, "--webhook: its host or port cannot be read"),
        (["--webhook", "https://host/s3cret path"], 2, "an address holds neither spaces nor control characters"),
        (["--webhook", "https://host/", "--webhook-ca", "{tmp}/gone"], 6, "/gone: No such file or directory"),
        (["--webhook", "https://host/", "--webhook-ca", "{tmp}/plain"], 6, "/plain: no certificate (PEM) in it"),
        (["--webhook", "http://host/", "--webhook-ca", "{tmp}/plain"], 2, "--webhook-ca is for an https:// address"),
        (["--webhook-ca", "{tmp}/plain"], 2, "--webhook-ca is for --webhook URL: give that too"),
        (["--webhook-token-file", "{tmp}/plain"], 2, "--webhook-token-file is for --webhook URL: give that too"),
        (
            ["--webhook", "https://host/", "--webhook-token-file", "{tmp}/gone"],
            6,
            "/gone: no such file: write",
        ),
        (
            ["--webhook", "https://host/", "--webhook-token-file", "{tmp}/empty"],
            6,
            "/empty: expected one line, the secret alone",
        ),
        (
            ["--webhook", "https://host/", "--webhook-token-file", "{tmp}/lines"],
            6,
            "/lines: expected one line, the secret alone",
        ),
        (["--webhook", "https://host/", "--webhook-token-file", "{tmp}"], 6, ": Is a directory"),
        (["--webhook", "https://host/", "--camera", "{tmp}/photo.jpg"], 2, "--webhook needs a camera or a video"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_opened(
    words: list[str], code: int, message: str, tmp_path: Path, capfd
) -> None:
    for name, text in (("plain", "s3cret"), ("empty", "\n"), ("lines", "s3cret\nmore\n"), ("photo.jpg", "")):
        (tmp_path / name).write_text(text)
    given = [word.replace("{tmp}", str(tmp_path)) for word in words]
    camera = [] if "--camera" in words else ["--camera", "demo"]
    found, errors = classify_here(capfd, *camera, *given, "--model", "gone.tflite")
    assert found == code, errors
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert "s3cret" not in errors


def test_a_token_that_others_can_read_is_warned_of(command, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret")
    path.chmod(0o644)
    words = ("--webhook", server.url, "--webhook-token-file", path)
    done = command("edge-classify", "--camera", "demo", "--count", 2, *words)
    warning = f"--webhook-token-file {path}: every user of this machine can read it: chmod 600 {path}"
    assert f"warning: {warning}" in done.stderr
