"""HTTP as no client would send it: raw bytes, odd targets, odd headers, sockets held open."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from contextlib import suppress

from tests.harness.waiting import SECONDS

SILENCE = 5.0
"""Seconds after which an answer that has begun, and does not say how long it is, counts as over."""


def request(
    target: str, host: str, headers: Sequence[str] = (), method: str = "GET", body: bytes = b""
) -> bytes:
    """The bytes of a request; `headers` are whole lines, sent as they are."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def send(port: int, data: bytes, silence: float = SILENCE, first: bool = True) -> bytes:
    """Sends bytes to a port of loopback; gives what comes back until the other end closes, or with
    `first` until one answer is whole.

    An answer is waited for as long as everything else. What does not say where it ends is over when
    nothing more has come for `silence` seconds; without `first`, so is whatever follows it.
    """
    found = b""
    bodiless = data.startswith(b"HEAD ")
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        with suppress(TimeoutError, ConnectionError):
            connection.sendall(data)
        with suppress(TimeoutError, ConnectionError):
            while not (first and _is_whole(found, bodiless)):
                connection.settimeout(SECONDS if _is_cut_short(found, bodiless) else silence)
                if not (chunk := connection.recv(65536)):
                    break
                found += chunk
    return found


def _is_cut_short(answer: bytes, bodiless: bool) -> bool:
    """Whether more has to come: the head, or what the head tells of."""
    head, gap, _ = answer.partition(b"\r\n\r\n")
    told = header(answer, "Content-Length") or b"chunked" in head.lower()
    return not gap or (bool(told) and not _is_whole(answer, bodiless))


def _is_whole(answer: bytes, bodiless: bool) -> bool:
    """Whether the first answer is; `bodiless` after a request for its head alone."""
    head, gap, rest = answer.partition(b"\r\n\r\n")
    if not gap:
        return False
    if bodiless or statuses(answer)[:1] in ([101], [204], [304]):
        return True
    length = header(answer, "Content-Length")
    if length:
        return len(rest) >= int(length)
    # Another answer may follow.
    return b"chunked" in head.lower() and bool(re.search(rb"(^|\r\n)0\r\n\r\n", rest))


def ask(
    port: int,
    target: str,
    host: str,
    headers: Sequence[str] = (),
    method: str = "GET",
    body: bytes = b"",
) -> bytes:
    """One request and its answer; the connection is not kept."""
    return send(port, request(target, host, [*headers, "Connection: close"], method, body))


def statuses(answer: bytes) -> list[int]:
    """The status of every answer in what came back; empty when there was none."""
    return [int(one) for one in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


def header(answer: bytes, name: str) -> str:
    """A header of the first answer; empty when it has none of that name."""
    head = answer.split(b"\r\n\r\n", 1)[0].decode("latin-1")
    found = re.search(rf"^{name}:[ \t]*(.*?)\r?$", head, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def body(answer: bytes) -> bytes:
    """The first answer's body, as it was sent."""
    return answer.partition(b"\r\n\r\n")[2]


def hold(port: int, count: int, start: bytes) -> list[socket.socket]:
    """Opens connections, sends the start of a request on each and leaves them."""
    held = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        connection.sendall(start)
        held.append(connection)
    return held


def closed(connection: socket.socket) -> bool:
    """Whether the other end has closed it; what it said before is read away."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True
