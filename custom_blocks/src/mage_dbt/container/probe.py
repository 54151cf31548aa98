"""`python -m mage_dbt.container.probe runner|mage`: exit status 0 when it answers.

Both listen where nothing outside their pod or container reaches, so health checks run inside. It
starts every few seconds, so it uses only the standard library.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from pathlib import Path

from mage_dbt.home import Home
from mage_dbt.mage.gateway.headers import SECRET

ANSWER_SECONDS = 4.0

HOME = Home(Path(os.environ.get("WORKSPACE_HOME", "/workspace")))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("runner", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(str(self._path))


def answers(name: str) -> str:
    """What is wrong with the program of that name; empty when it answers."""
    headers = {}
    if name == "runner":
        connection: http.client.HTTPConnection = _UnixConnection(HOME.runner_socket)
        path = "/ping"
    else:
        port = int(os.environ.get("MAGE_PORT") or 6789)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        path = "/api/statuses"
        if HOME.runner_to_mage_secret.exists():  # with a login Mage answers nobody without it
            headers[SECRET] = HOME.runner_to_mage_secret.read_text().strip()
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        status, begin = answer.status, answer.read(20)
    except (OSError, http.client.HTTPException) as error:
        return f"{name} does not answer: {error}"
    finally:
        connection.close()
    if status != 200:
        return f"{name} answers {status}"
    # While Mage creates its database, it answers 200 with an error.
    return f"{name} answers with an error" if b'"error"' in begin else ""


if __name__ == "__main__":
    sys.exit(answers(sys.argv[1]) or 0)
