"""HTTP as no client would send it: raw bytes, odd targets, odd headers, sockets held open."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from contextlib import suppress

SILENCE = 5.0
"""Seconds after which an answer counts as over."""


def request(
    target: str, host: str, headers: Sequence[str] = (), method: str = "GET", body: bytes = b""
) -> bytes:
    """The bytes of a request; `headers` are whole lines, sent as they are."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def send(port: int, data: bytes, silence: float = SILENCE, first: bool = True) -> bytes:
    """Sends bytes to a port of loopback; gives what comes back until the other end closes, or says
    nothing for `silence` seconds, or with `first` until one answer is whole."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=silence) as connection:
        with suppress(TimeoutError, ConnectionError):
            connection.sendall(data)
        with suppress(TimeoutError, ConnectionError):
            while not (first and _whole(found)) and (chunk := connection.recv(65536)):
                found += chunk
    return found


def _whole(answer: bytes) -> bool:
    head, gap, rest = answer.partition(b"\r\n\r\n")
    if not gap:
        return False
    if statuses(answer)[:1] in ([101], [204], [304]):
        return True
    length = header(answer, "Content-Length")
    if length:
        return len(rest) >= int(length)
    return b"chunked" in head.lower() and rest.endswith(b"0\r\n\r\n")


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
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
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
