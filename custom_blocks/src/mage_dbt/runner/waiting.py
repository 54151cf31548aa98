"""What a runner answers that has started while PostgreSQL is away: that it lives, and waits.

So nobody who watches it takes it for dead and starts it again, later and later; and Mage's blocks
and the tool hear why nothing happens, and ask again.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from mage_dbt.api import problems
from mage_dbt.errors import LedgerUnreachable

PING = "/ping"


@dataclass
class Door:
    """The runner's Unix socket meanwhile."""

    reason: str = ""
    """Why it waits; change it at any time."""


@contextmanager
def door(listener: socket.socket) -> Iterator[Door]:
    """Answers on `listener`, which is bound, for as long as the block lasts."""
    opened = Door()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == PING:
                self._answer(200, "application/json", "pong", {})
                return
            error = LedgerUnreachable(
                f"The runner waits for PostgreSQL: {opened.reason}", "It begins when that is back."
            )
            told = problems.problem(error, self.path)
            self._answer(error.status, problems.MEDIA_TYPE, told, problems.headers(error))

        do_POST = do_GET

        def _answer(self, status: int, kind: str, told: object, headers: dict[str, str]) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": kind, "Connection": "close"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the log has why it waits."""

    class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
        daemon_threads = True

        def __init__(self) -> None:
            socketserver.BaseServer.__init__(self, ("", 0), Handler)
            self.socket = listener

    server = Server()
    listener.listen(64)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield opened
    finally:
        server.shutdown()
        server.server_close()
