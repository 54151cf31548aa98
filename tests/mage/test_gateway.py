"""What of a real Mage answers, without a login: its holes are closed for everybody.

Each of these fails on a Mage without the patch that puts the gateway before it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import httpx
import pytest

from mage_dbt.mage.gateway import rules
from tests.harness.mage import Mage
from tests.harness.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

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
    return httpx.Client(base_url=mage.mage_url, trust_env=False, timeout=SECONDS)


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
    with socket.create_connection(
        ("127.0.0.1", mage.settings.mage_port), timeout=SECONDS
    ) as connection:
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


def test_what_another_page_loads_is_not_read_and_a_link_to_a_page_opens(mage: Mage) -> None:
    image = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image")
    link = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    for path in ("/", "/api/pipelines", "/api/files", "/images/logo.png", "/_next/static/x.js"):
        assert raw(mage, path, *image) == 403, path
    for path in ("/", "/pipelines/daily_full_build/runs/1", "/sign-in"):
        assert raw(mage, path, *link) in (200, 302), path
    assert raw(mage, "/api/files", *link) == 403
    assert raw(mage, "/api/statuses", "Sec-Fetch-Site: none") == 200  # typed by somebody


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
def test_no_spelling_of_a_path_gets_around_the_gateway(mage: Mage, path: str) -> None:
    for method in ("GET", "POST"):
        assert raw(mage, path, method=method) in (400, 403, 404)


HANGS = "^(([a-zA-Z0-9_.]+)+)+!$"
"""A regular expression that is not done with a file's name of 30 letters in a year."""


@pytest.mark.parametrize("name", ["exclude_pattern", "exclude_dir_pattern", "pattern"])
def test_a_regular_expression_does_not_reach_mage(http: httpx.Client, name: str) -> None:
    for pattern in (HANGS, quote(HANGS, safe=""), "a", ".*", "a^|" + HANGS):
        for more in ({}, {"flatten": "true"}):
            answer = http.get("/api/files", params={name: pattern, **more}, timeout=SECONDS)
            # One that no page sends is taken out, so that the files come as without it.
            wanted = [200] if name == "pattern" else [400]
            assert [answer.status_code] == wanted, answer.text[:200]
    assert http.get("/api/statuses", timeout=SECONDS).status_code == 200
    hidden = http.get("/api/files", params={"exclude_pattern": "a^", "exclude_dir_pattern": "a^"})
    assert "daily_full_build" in hidden.text


def test_a_folder_elsewhere_is_not_listed(http: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "somebody.txt").touch()
    (tmp_path / "pipelines" / "elsewhere").mkdir(parents=True)
    (tmp_path / "pipelines" / "elsewhere" / "metadata.yaml").write_text("name: elsewhere")
    for folder in (str(tmp_path), quote(str(tmp_path), safe=""), "/", "../../.."):
        for path in ("/api/files", "/api/pipelines", "/api/global_data_products"):
            answer = http.get(path, params={"repo_path": folder})
            assert "somebody" not in answer.text and "elsewhere" not in answer.text, answer.text
        for name in ("directory_path", "file_path", "pipeline_uuid", "pipeline_uuid[]"):
            assert http.get("/api/files", params={name: folder}).status_code == 400, (name, folder)


def test_a_parameter_calls_nothing_in_mage(mage: Mage, http: httpx.Client) -> None:
    mage.add_pipeline("counted", BLOCK)
    number = mage.trigger("counted")
    assert mage.ended(number) == "completed"
    # Mage looks the first word up on its class of pipeline runs, and calls the second of that.
    for order in ("query delete", "query all", "metadata drop_all", "id __class__", "id%20delete"):
        for path, name in (("pipeline_runs", "order_by[]"), ("block_runs", "order_by")):
            answer = http.get(f"/api/{path}", params={name: order})
            assert answer.status_code == 400 and "is a column here" in answer.text
    runs = http.get("/api/pipeline_runs", params={"order_by[]": "created_at desc"}).json()
    assert number in [one["id"] for one in runs["pipeline_runs"]]
    # It imports a module of the parameter's name.
    answer = http.get("/api/client_pages/pipeline_schedule:create", params={"base[]": "1"})
    assert answer.status_code == 200 and "base" not in answer.text


def test_code_in_a_parameter_is_not_executed(
    mage: Mage, http: httpx.Client, tmp_path: Path
) -> None:
    proof = tmp_path / "executed"
    chart = {"name": "one", "type": "chart", "configuration": {"chart_type": "custom"}}
    layout = {"page_block_layout": {"blocks": {"one": chart}, "layout": []}}
    made = http.put("/api/page_block_layouts/overview%2Fdashboard", json=layout)
    assert made.status_code == 200
    code = f"open({str(proof)!r}, 'w')"
    for page in ("overview%2Fdashboard", "overview%252Fdashboard"):
        path = f"/api/page_block_layouts/{page}/block_layout_items/one"
        for given in (code, quote(code, safe="")):
            source = '{"type": "chart_code"}'
            http.get(path, params={"content_override": given, "data_source_override": source})
    assert not proof.exists()


def test_whatever_mages_pages_ask_for_is_answered(mage: Mage, page: Page) -> None:
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    mage.add_pipeline("looked_at", BLOCK)
    number = mage.trigger("looked_at")
    assert mage.ended(number) == "completed"
    log = mage.home.logs / "mage.log"
    before, asked = log.stat().st_size, []
    page.on("response", lambda answer: asked.append((answer.status, answer.url)))
    ours = "/pipelines/looked_at"
    for path, shown in (
        *(("/pipelines?search=looked&status[]=active", "looked_at"), ("/overview", "")),
        *(("/triggers", "Every morning"), ("/pipeline-runs", "looked_at")),
        *((f"{ours}/triggers?type[]=api&status[]=active", "API"), (f"{ours}/triggers/1", "")),
        *((f"{ours}/runs?status=completed", "completed"), (f"{ours}/backfills", "")),
        (f"{ours}/runs/{number}?sort_col_idx=4&sort_direction=desc", "completed"),
        *((f"{ours}/logs?pipeline_run_id[]={number}", ""), (f"{ours}/monitors/block-runs", "")),
        *((f"{ours}/edit", "looked_at"), ("/templates", ""), ("/settings/workspace/users", "")),
        ("/files?file_path=custom%2Flooked_at.py", "return 1"),
    ):
        page.goto(f"{mage.mage_url}{path}")
        if shown:
            page.get_by_text(shown).first.wait_for()
        with suppress(PlaywrightTimeout):  # some pages ask again and again
            page.wait_for_load_state("networkidle", timeout=2000)
    page.on("dialog", lambda dialog: dialog.accept())
    # In the tree: the file's tab has the same name, and is there before the folder is open.
    page.locator(".row").get_by_text("custom", exact=True).click()
    page.locator(".row").get_by_text("looked_at.py").click(button="right")
    page.get_by_text("Delete file").click()
    gone = mage.home.mage_project / "custom" / "looked_at.py"
    wait_until("the file to be deleted", lambda: not gone.exists() or "it is there")
    api = [(status, url) for status, url in asked if "/api/" in url]
    assert len(api) > 50
    refused = [f"{status} {url}" for status, url in api if status >= 400]
    assert [one for one in refused if not one.startswith("403")] == []
    closed = {urlsplit(one.split(" ")[1]).path.split("/")[2] for one in refused}
    assert not closed & rules.RESOURCES.keys(), refused
    assert "without the parameter" not in log.read_text()[before:]


def test_a_path_from_the_root_is_no_address(mage: Mage, http: httpx.Client, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("somebody else's")
    once = quote(str(outside), safe="")
    folder = {"folder": {"name": "taken", "path": ""}}
    file = {"file": {"name": "taken.txt", "dir_path": ""}}
    for encoded in (once, quote(once, safe=""), quote(quote(once, safe=""), safe="")):
        for resource in ("files", "folders", "file_contents", "blocks", "custom_templates"):
            for method, body in (("DELETE", None), ("PUT", file), ("PUT", folder), ("GET", None)):
                answer = http.request(method, f"/api/{resource}/{encoded}", json=body)
                assert answer.status_code == 404 and "no such address" in answer.text
    assert outside.read_text() == "somebody else's"
    mine = mage.home.mage_project / "custom" / "to_delete.py"
    mine.write_text("pass")
    answer = http.delete(f"/api/files/{quote(quote('custom/to_delete.py', safe=''), safe='')}")
    assert answer.status_code == 200 and not mine.exists(), answer.text[:300]


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
