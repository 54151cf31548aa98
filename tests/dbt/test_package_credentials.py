"""A token in a package's address lets dbt's git in, and stands on no command line."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dbt.clients.git
import pytest

from mage_dbt.dbt.package_sources import off_the_command_line
from tests.harness.repository import git, make_repository

TOKEN = "c4nary/t0ken+x"
TYPED = "c4nary%2Ft0ken+x"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """git's own server over HTTP, which lets in who knows the token; its `host:port`."""
    make_repository(tmp_path / "served" / "lib.git", "nightly")
    backend = Path(git(tmp_path / "served" / "lib.git", "--exec-path")) / "git-http-backend"

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers["Authorization"] or ""
            if given not in [
                "Basic " + base64.b64encode(one.encode()).decode()
                for one in (f"{TOKEN}:", f"oauth2:{TOKEN}")
            ]:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            done = subprocess.run(
                [str(backend)],
                input=self.rfile.read(int(self.headers["Content-Length"] or 0)),
                env={
                    **os.environ,
                    **{"GIT_PROJECT_ROOT": str(tmp_path / "served"), "GIT_HTTP_EXPORT_ALL": "1"},
                    **{"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command},
                    "CONTENT_TYPE": self.headers["Content-Type"] or "",
                    "HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"] or "",
                    "GIT_PROTOCOL": self.headers["Git-Protocol"] or "",
                },
                capture_output=True,
                check=True,
            )
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            self.send_response(200)
            for line in head.decode().splitlines():
                name, _, value = line.partition(": ")
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{served.server_port}"
    served.shutdown()


@pytest.mark.parametrize("user", [TYPED, f"oauth2:{TYPED}"])
def test_a_token_lets_dbts_git_in_and_is_on_no_command_line(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    said = tmp_path / "said"
    real = shutil.which("git")
    watcher = tmp_path / "bin" / "git"
    watcher.parent.mkdir()
    watcher.write_text(f'#!/bin/sh\necho "$@" >> "{said}"\nexec "{real}" "$@"\n')
    watcher.chmod(0o755)
    for name, value in {
        "PATH": f"{watcher.parent}:{os.environ['PATH']}",
        "GIT_TRACE": str(tmp_path / "trace"),  # with what git itself starts
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "no_proxy": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    address = f"http://{user}@{server}/lib.git/.git"
    with off_the_command_line():
        dbt.clients.git.clone_and_checkout(
            address, str(tmp_path), dirname="lib", revision="main", remove_git_dir=False
        )
    assert (tmp_path / "lib" / "dbt_project.yml").is_file()
    words = said.read_text() + (tmp_path / "trace").read_text()
    assert f"http://{server}/lib.git/.git" in words
    for shape in (TOKEN, TYPED):
        assert shape not in words
        assert shape not in (tmp_path / "lib" / ".git" / "config").read_text()
