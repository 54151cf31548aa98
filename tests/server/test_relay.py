"""The way to Mage: what goes through, what is taken away, when it ends.

In place of Mage stands a server that shows the bytes it gets.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mage_dbt.base.secret_files import read_or_make
from mage_dbt.errors import Malformed
from mage_dbt.home import Home
from mage_dbt.server import relay
from mage_dbt.server.relay import MageRelay, read_head
from mage_dbt.settings import Settings
from tests.groups_header import groups_header
from tests.harness.waiting import SECONDS, wait_until
from tests.unit.login_settings import LOGIN

OPENED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@dataclass
class Behind:
    """What stands behind the relay, and what it has got."""

    home: Home
    got: list[bytes] = field(default_factory=list)
    keep_open: bool = False
    closed: int = 0
    """Of the connections that it keeps open: those that the relay has closed."""
    opens: bytes = OPENED
    """What it answers when it keeps the connection open."""

    def ask(self, *headers: str, line: str = "GET / HTTP/1.1", body: bytes = b"") -> bytes:
        with self.connect(*headers, line=line, body=body) as connection:
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def connect(self, *headers: str, line: str, body: bytes = b"") -> socket.socket:
        secret = self.home.proxy_people_secret.read_text()
        ours = [f"X-Workspace-Proxy: {secret}", "Host: mage.example.com"]
        groups = "X-Forwarded-Groups: "
        told = [
            groups + groups_header(one.removeprefix(groups), secret=secret)
            if one.startswith(groups)
            else one
            for one in headers
        ]
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(SECONDS)
        connection.connect(str(self.home.people_mage_socket))
        head = "\r\n".join([line, *ours, *told]) + "\r\n\r\n"
        connection.sendall(head.encode("latin-1") + body)
        return connection


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    settings = Settings.load(
        {**LOGIN, "WORKSPACE_HOME": str(tmp_path), "MAGE_PORT": str(port)}, tmp_path / "no.env"
    )
    home = Home(tmp_path)
    for file in (home.proxy_people_secret, home.runner_to_mage_secret):
        read_or_make(file)
    found = Behind(home)

    def until_closed(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65536):
                found.got[-1] += data
        found.closed += 1

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            data = connection.recv(65536)
            found.got.append(data)
            if not found.keep_open:
                connection.sendall(ANSWER)
                connection.close()
            else:
                connection.sendall(found.opens)
                threading.Thread(target=until_closed, args=(connection,), daemon=True).start()

    threading.Thread(target=answer, daemon=True).start()
    home.people_mage_socket.parent.mkdir(parents=True, exist_ok=True)
    home.people_mage_socket.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(home.people_mage_socket))
    relay = MageRelay(settings, home)
    relay.start(door)
    yield found
    relay.stop()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


ANA = ("X-Forwarded-Email: ana@example.com", "X-Forwarded-Groups: analysts")


def test_mage_gets_a_name_and_a_role_and_none_of_the_secrets(behind: Behind) -> None:
    answer = behind.ask(
        *ANA,
        "Cookie: __Host-workspace=the session",
        "Authorization: Bearer the token",
        "X-Forwarded-Access-Token: the token",
        "X_Workspace_Person: otto@example.com",
        "X-Workspace-Role: owner",
        "X-Kept: yes",
        line="PUT /api/pipelines/one?x=1 HTTP/1.1",
    )
    assert answer == ANSWER
    (got,) = behind.got
    secret = behind.home.runner_to_mage_secret.read_text()
    assert got.decode().split("\r\n") == [
        *("PUT /api/pipelines/one?x=1 HTTP/1.1", "Host: mage.example.com", "X-Kept: yes"),
        *("Connection: close", f"X-Workspace-Mage: {secret}"),
        *("X-Workspace-Person: ana@example.com", "X-Workspace-Role: analyst", "", ""),
    ]
    assert behind.home.proxy_people_secret.read_text() not in got.decode()


def test_who_may_not_come_in_is_told_and_mage_hears_nothing(behind: Behind) -> None:
    nobody = ("X-Forwarded-Email: nora@example.com", "X-Forwarded-Groups: marketing")
    assert behind.ask(*nobody).startswith(b"HTTP/1.1 403")
    assert b"in no group" in behind.ask(*nobody)
    assert behind.ask(*ANA, "X-Workspace-Proxy: again").startswith(b"HTTP/1.1 401")
    assert behind.ask().startswith(b"HTTP/1.1 401")
    assert behind.ask(*ANA, "Origin: https://evil.example").startswith(b"HTTP/1.1 403")
    assert behind.ask(*ANA, line="GET http://x/api HTTP/1.1").startswith(b"HTTP/1.1 400")
    assert behind.ask(*ANA, "X: " + "a" * 100_000).startswith(b"HTTP/1.1 400")
    assert behind.got == []


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.0",
        "get / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /\tx HTTP/1.1",
        "GET / HTTP/1.1\r\n folded: yes",
        "GET / HTTP/1.1\r\nA : b",
        "GET / HTTP/1.1\r\nA: b\nC: d",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        "POST / HTTP/1.1\r\nContent_Length: 1\r\nContent-Length: 2",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip",
        "POST / HTTP/1.1\r\nContent-Length: +1",
        "POST / HTTP/1.1\r\nA: b\r\n folded: yes",
        "POST / HTTP/1.1\r\nA: b\rC: d",
        "POST / HTTP/1.1\nA: b",
        "POST / HTTP/1.1\r\nHost: y",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer_Encoding: chunked",
        "CONNECT mage:6789 HTTP/1.1",
    ],
)
def test_what_two_programs_could_read_differently_is_refused(head: str) -> None:
    with pytest.raises(Malformed):
        read_head(f"{head}\r\nHost: x\r\n\r\n".encode("latin-1"))


def test_what_is_refused_for_one_line_is_taken_without_it() -> None:
    head = b"POST /a HTTP/1.1\r\nA: b\r\nContent-Length: 1\r\nHost: x\r\n\r\n"
    _, asked = read_head(head)
    assert (asked.method, asked.target, len(asked.headers)) == (b"POST", b"/a", 3)


def test_an_open_web_socket_ends_when_the_right_is_lost(behind: Behind) -> None:
    behind.keep_open = True
    upgrade = ("Upgrade: websocket", "Connection: Upgrade")
    line = "GET /websocket/ HTTP/1.1"
    with behind.connect(*ANA, *upgrade, line=line) as kept:

        def arrived() -> bool | str:
            return bool(behind.got) or "nothing has come"

        wait_until("the handshake to be passed on", arrived)
        assert kept.recv(100) == OPENED
        assert b"Connection: Upgrade" in behind.got[0]
        lost = ("X-Forwarded-Email: Ana@example.com", "X-Forwarded-Groups: everybody")
        behind.keep_open = False
        assert behind.ask(*lost) == ANSWER  # a viewer now
        assert kept.recv(10) == b""


def test_an_open_web_socket_ends_when_its_person_is_heard_of_no_more(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "RIGHTS_SECONDS", 1.0)
    behind.keep_open = True
    with behind.connect(*ANA, "Upgrade: websocket", line="GET /websocket/ HTTP/1.1") as kept:
        assert kept.recv(100) == OPENED
        assert kept.recv(10) == b""


def test_what_asks_for_a_web_socket_and_gets_a_page_is_the_last_of_its_connection(
    behind: Behind,
) -> None:
    behind.keep_open = True
    behind.opens = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\npage"
    upgrade = ("Upgrade: websocket", "Connection: Upgrade")
    answer = behind.ask(*ANA, *upgrade, line="GET /pipelines HTTP/1.1", body=b"GET /next")
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage"
    assert len(behind.got) == 1


def test_only_its_body_follows_a_request_whatever_else_its_sender_says(behind: Behind) -> None:
    behind.keep_open, behind.opens = True, b""
    chunks = b"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n"
    line, second = "POST /api/one HTTP/1.1", b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
    with behind.connect(*ANA, "Transfer-Encoding: chunked", line=line, body=chunks + second):

        def whole() -> bool | str:
            return (bool(behind.got) and behind.got[0].endswith(b"0\r\n\r\n")) or str(behind.got)

        wait_until("the body to be passed on", whole)
    wait_until("the relay to close it", lambda: behind.closed == 1 or "it is open")
    head, _, body = behind.got[0].partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert body == b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"


def test_a_page_in_chunks_in_place_of_a_web_socket_comes_whole(behind: Behind) -> None:
    behind.keep_open = True
    behind.opens = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npage\r\n0\r\n\r\n"
    answer = behind.ask(*ANA, "Upgrade: websocket", line="GET /pipelines HTTP/1.1")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Connection: close" in head and body == b"4\r\npage\r\n0\r\n\r\n"


def test_a_refused_request_may_still_send_its_body(behind: Behind) -> None:
    evil, line = "Origin: https://evil.example", "POST /api/one HTTP/1.1"
    with behind.connect(*ANA, evil, "Content-Length: 2", line=line) as client:
        answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 403")
        client.sendall(b"{}")  # would fail on a connection that is closed


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("HEAD / HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n"),
        ("GET / HTTP/1.1", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4000\r\n\r\n"),
        ("GET / HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"),
        ("GET / HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\nless"),
        ("GET / HTTP/1.1", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"),
        ("GET / HTTP/1.1", b""),
    ],
    ids=["head", "not modified", "no number", "half a body", "a large head", "silence"],
)
def test_no_answer_to_an_upgrade_leaves_a_connection_open(
    behind: Behind, monkeypatch: pytest.MonkeyPatch, line: str, answer: bytes
) -> None:
    monkeypatch.setattr(relay, "HEAD_SECONDS", 0.5)
    behind.keep_open = True
    behind.opens = answer
    upgrade = ("Upgrade: websocket", "Connection: Upgrade")
    with behind.connect(*ANA, *upgrade, line=line) as client:
        if line.startswith("HEAD"):  # it is no web socket, and Mage is told to close
            wait_until("the head to be passed on", lambda: bool(behind.got) or "nothing")
            assert b"Connection: close" in behind.got[0] and b"Upgrade" not in behind.got[0]
        else:
            while client.recv(65536):
                pass
    wait_until("the relay to close it", lambda: behind.closed == 1 or "it is open")
