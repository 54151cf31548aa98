"""Notification services for tests: real HTTP servers that answer well, badly, late or never."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Service:
    """One service on loopback, and what it has received."""

    port: int
    received: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    """What it answers; change it at any time."""

    def address(self, path: str = "") -> str:
        """For the file of addresses."""
        return f"json://127.0.0.1:{self.port}/{path}"

    def titles(self) -> list[str]:
        return [one["title"] for one in self.received]

    def about(self, words: str) -> list[dict[str, Any]]:
        """What was received with these words in it."""
        return [one for one in self.received if words in f"{one['title']}\n{one['message']}"]


@contextmanager
def service(status: int = 200, port: int = 0) -> Iterator[Service]:
    """A service that answers `status` to everything; on a free port, or on the one given."""
    found = Service(0, status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.received.append(json.loads(body))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: pytest shows what a test prints."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def hanging_service() -> Iterator[str]:
    """The address of a service that takes every connection, and answers a byte now and then: no
    timeout between two bytes ever passes."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not over.wait(0.5):
                    connection.sendall(b"z")
            except OSError:
                return

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"json://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
