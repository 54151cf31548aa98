"""The answers of a runner that waits for PostgreSQL at its start: it lives, and says why it waits.

So no supervisor takes it for dead and restarts it at growing intervals, and Mage's blocks and the
tool learn the reason and ask again.
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
from urllib.parse import unquote

from mage_dbt.errors import LedgerUnreachable
from mage_dbt.model import problems

PING = "/ping"


@dataclass
class Waiting:
    """The state that the answers tell."""

    reason: str = ""
    """Why the runner waits; it may change at any time."""


@contextmanager
def answering(listener: socket.socket) -> Iterator[Waiting]:
    """Answers on `listener`, a bound socket, for as long as the block lasts."""
    waiting = Waiting()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == PING:
                self._answer(200, "application/json", "pong", {})
                return
            error = LedgerUnreachable(
                f"The runner waits for PostgreSQL: {waiting.reason}", "It begins when that is back."
            )
            path = unquote(self.path.partition("?")[0])
            problem = problems.problem(error, problems.instance_of(path))
            self._answer(error.status, problems.MEDIA_TYPE, problem, problems.headers(error))

        do_POST = do_GET

        def _answer(self, status: int, kind: str, answer: object, headers: dict[str, str]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": kind, "Connection": "close"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Does nothing: the log says already why the runner waits."""

    class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
        daemon_threads = True

        def __init__(self) -> None:
            socketserver.BaseServer.__init__(self, ("", 0), Handler)
            self.socket = listener

    server = Server()
    listener.listen(64)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield waiting
    finally:
        server.shutdown()
        server.server_close()
