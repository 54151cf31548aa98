"""What of a real Mage answers, without a login: its holes are closed for everybody.

Each of these fails on a Mage without the patch that puts the door before it.
"""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from tests.harness.mage import Mage

BLOCK = "@custom\ndef run(*args, **kwargs):\n    return 1\n"

CLOSED = (
    *("/api/sessions", "/api/events", "/api/event_matchers", "/api/event_matchers/1", "/api/runs"),
    *("/api/runs/token", "/api/oauths", "/api/oauths/google", "/api/oauth_access_tokens"),
    *("/api/git_branches", "/api/git_custom_branches/main", "/api/git_files", "/api/syncs"),
    *("/api/pull_requests", "/api/version_control_projects", "/api/global_hooks", "/api/llms"),
    *("/api/browser_items?directory=/etc", "/api/clusters", "/api/workspaces", "/api/seeds"),
    *("/api/integration_sources", "/api/databases", "/api/command_center_items", "/terminal"),
    *("/oauth", "/manage", "/version-control", "/metrics", "/websocket/terminal"),
    *("/api/pipelines/one/sessions", "/api/files/one/git_files", "/api/files/one/syncs/1"),
)


@pytest.fixture(scope="module")
def http(mage: Mage) -> httpx.Client:
    return httpx.Client(base_url=mage.mage_url, trust_env=False, timeout=30)


def raw(mage: Mage, path: str, *headers: str, method: str = "GET") -> int:
    """The status of a request whose path goes as it stands."""
    host = f"127.0.0.1:{mage.settings.mage_port}"
    given = headers if any(one.startswith("Host:") for one in headers) else (f"Host: {host}",)
    lines = [f"{method} {path} HTTP/1.1", *dict.fromkeys((*given, *headers)), "Connection: close"]
    return _status(mage, lines)


def handshake(mage: Mage, path: str, *headers: str) -> int:
    """The status of a web socket's beginning; 101 when it is open."""
    host = f"127.0.0.1:{mage.settings.mage_port}"
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    return _status(mage, [f"GET {path} HTTP/1.1", f"Host: {host}", *upgrade, key, *headers])


def _status(mage: Mage, lines: list[str]) -> int:
    with socket.create_connection(("127.0.0.1", mage.settings.mage_port), timeout=30) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return int(connection.recv(4096).split(b" ")[1])


def test_mage_itself_answers(mage: Mage, http: httpx.Client) -> None:
    for path in ("/", "/pipelines", "/pipelines/daily_full_build/edit", "/api/statuses"):
        assert http.get(path).status_code == 200, path
    listed = http.get("/api/pipelines").json()["pipelines"]
    assert "daily_full_build" in [one["uuid"] for one in listed]
    assert handshake(mage, "/websocket/", f"Origin: {mage.mage_url}") == 101


@pytest.mark.parametrize("path", CLOSED)
def test_what_is_closed_answers_nobody(http: httpx.Client, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = http.request(method, path, json={} if method in ("POST", "PUT") else None)
        assert answer.status_code == 403, (method, answer.text[:200])
        assert "closed here" in answer.text


@pytest.mark.parametrize("path", ["/terminal", "/version-control", "/manage", "/nowhere", "/a//b"])
def test_a_browser_gets_a_page_that_leads_back_and_a_program_the_sentence(
    http: httpx.Client, path: str
) -> None:
    page = http.get(path, headers={"Accept": "text/html,application/xhtml+xml"})
    assert page.status_code in (403, 404) and page.headers["content-type"].startswith("text/html")
    assert '<a href="/pipelines">Back to the pipelines</a>' in page.text
    sentence = http.get(path, headers={"Accept": "application/json"}).text.strip()
    assert sentence and sentence in page.text and "<" not in sentence


def test_a_shell_is_not_opened(mage: Mage) -> None:
    assert handshake(mage, "/websocket/terminal") == 403
    assert handshake(mage, "/websocket/terminal?term_name=x", f"Origin: {mage.mage_url}") == 403


def test_an_unknown_provider_gives_no_session(http: httpx.Client) -> None:
    asked = {"provider": "none", "token": "x", "email": "admin@admin.com"}
    answer = http.post("/api/sessions", json={"session": asked})
    assert answer.status_code == 403 and "token" not in answer.text


def test_a_triggers_token_starts_nothing_from_outside(mage: Mage, http: httpx.Client) -> None:
    mage.add_pipeline("outside", BLOCK)
    number = mage.trigger("outside")  # the runner's own way, with its secret
    assert mage.ended(number) == "completed"
    trigger = mage.trigger_id("outside")
    token = mage.home.mage_trigger_token.read_text()
    bearer = {"Authorization": f"Bearer {token}"}
    secret = {"X-Workspace-Mage": "guessed"}
    for path in (
        f"/api/pipeline_schedules/{trigger}/api_trigger",
        f"/api/pipeline_schedules/{trigger}/pipeline_runs/{token}",
    ):
        assert http.post(path, json={}, headers=bearer).status_code == 403
        assert http.post(path, json={}, headers={**bearer, **secret}).status_code == 401
    run = {"run": {"pipeline_uuid": "outside", "block_uuid": "outside"}}
    assert http.post("/api/runs", json=run, headers=bearer).status_code == 403
    assert http.post(f"/api/runs/{token}", json=run).status_code == 403
    runs = http.get("/api/pipeline_runs", params={"pipeline_uuid": "outside"}).json()
    assert [one["id"] for one in runs["pipeline_runs"]] == [number]


def test_no_answer_shows_a_triggers_token(mage: Mage, http: httpx.Client) -> None:
    token = mage.home.mage_trigger_token.read_text()
    for path in ("/api/pipeline_schedules", "/api/pipelines/daily_full_build/pipeline_schedules"):
        answer = http.get(path)
        assert answer.json()["pipeline_schedules"] and token not in answer.text


@pytest.mark.parametrize(
    "header",
    [
        "Origin: https://evil.example",
        "Origin: null",
        "Origin: http://127.0.0.1:1",
        "Host: evil.example",
        "Host: 127.0.0.1.evil.example",
    ],
)
def test_another_page_or_host_gets_nothing(mage: Mage, header: str) -> None:
    for path in ("/", "/api/pipelines", "/api/statuses", "/_next/static/x.js"):
        assert raw(mage, path, header) == 403, path
    if header.startswith("Origin"):
        assert handshake(mage, "/websocket/", header) == 403


def test_a_form_of_another_page_changes_nothing(mage: Mage) -> None:
    asked = "Sec-Fetch-Site: cross-site"
    assert raw(mage, "/api/pipelines", asked, method="POST") == 403
    assert raw(mage, "/api/pipelines", method="OPTIONS") == 405


def test_no_answer_lets_another_page_read_it_or_frame_it(http: httpx.Client) -> None:
    for path in ("/", "/api/statuses", "/api/sessions", "/favicon.ico", "/nowhere", "/fonts/no"):
        headers = http.get(path).headers
        assert not [name for name in headers if name.startswith("access-control-")], path
        assert headers["x-frame-options"] == "SAMEORIGIN", path
        assert headers["x-content-type-options"] == "nosniff", path


@pytest.mark.parametrize(
    "path",
    [
        "//api/sessions",
        "/api//sessions",
        "/api/./sessions",
        "/api/pipelines/../sessions",
        "/api/pipelines/%2e%2e/sessions",
        "/api/pipelines/%252e%252e/sessions",
        "/%61pi/sessions",
        "/API/sessions",
        "/api/Sessions",
        "/api/sessions%2f",
        "/api/sessions/",
        "/api\\sessions",
        "/websocket//terminal",
        "/websocket/%74erminal",
        "/_next/static/../../../settings/server.py",
        "/_next/static/%2e%2e/%2e%2e/server.py",
        "/fonts/..%2f..%2fserver.py",
        "/monaco-editor/%5c..%5cserver.py",
        "http://127.0.0.1/api/sessions",
    ],
)
def test_no_spelling_of_a_path_gets_around_the_door(mage: Mage, path: str) -> None:
    for method in ("GET", "POST"):
        assert raw(mage, path, method=method) in (400, 403, 404)


def test_the_files_shown_are_the_projects(mage: Mage, http: httpx.Client, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("somebody else's")
    for name in (str(outside), "../../../../etc/passwd", str(mage.home.mage_trigger_token)):
        for encoded in (name.replace("/", "%2F"), name.replace("/", "%252F")):
            answer = http.get(f"/api/file_contents/{encoded}")
            assert "somebody else's" not in answer.text and "root:" not in answer.text
            assert mage.home.mage_trigger_token.read_text() not in answer.text
            changed = http.put(
                f"/api/file_contents/{encoded}", json={"file_content": {"content": "changed"}}
            )
            assert "changed" not in changed.text
    assert outside.read_text() == "somebody else's"
    asked = {"download": {"uri": "", "file_list": [str(outside)], "ignore_folder_structure": True}}
    made = http.post("/api/downloads", json=asked)
    token = str((made.json().get("download") or {}).get("token"))
    assert "somebody else's" not in http.get(f"/api/downloads/{token}").text
