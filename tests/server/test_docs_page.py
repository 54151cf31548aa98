"""dbt's documentation in a real browser: made by a button, and closed in by a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Error, expect

from mage_dbt.model.docs import DOCS_FILE
from mage_dbt.server.docs import SANDBOX
from tests.harness.database import Database
from tests.harness.repository import git_commit
from tests.harness.runner import Runner, on_project
from tests.harness.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Frame, Page


HOSTILE = """
<script>window.ran = 'script'</script>
<img src="x" onerror="
  window.ran = 'onerror';
  window.tried = {};
  var attempt = function (name, act) {
    try { Promise.resolve(act()).then(
      function (found) { window.tried[name] = 'reached ' + found; },
      function (error) { window.tried[name] = 'refused'; });
    } catch (error) { window.tried[name] = 'refused'; }
  };
  attempt('cookie', function () { return document.cookie; });
  attempt('storage', function () { return localStorage.length; });
  var read = function (from) { return fetch(from).then(function (r) { return r.text(); }); };
  attempt('api', function () { return read('/v1/status'); });
  attempt('page', function () { return read('/now.json'); });
  attempt('elsewhere', function () { return fetch('http://example.com/'); });
  attempt('tab', function () { top.location = '/commits'; });
  attempt('window', function () { return window.open('/now.json').location; });
"> </script>
"""
"""A model's description, which dbt shows as HTML."""

FORM = """() => {
  var form = document.createElement('form');
  form.action = '/language/ko'; form.method = 'post';
  document.body.append(form);
  form.submit();
}"""

TRIED = ("cookie", "storage", "api", "page", "elsewhere", "tab", "window")


@pytest.fixture(scope="module")
def runner(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("documented")
    with on_project(folder, server, "documented", DBT_METRIC_SUBDIR="dbt") as found:
        yield found


@pytest.fixture(scope="module")
def address(runner: Runner) -> str:
    return f"http://127.0.0.1:{runner.settings.runner_port}"


@pytest.fixture(scope="module")
def http(runner: Runner, address: str) -> Iterator[httpx.Client]:
    token = {"Authorization": f"Bearer {runner.home.api_token.read_text()}"}
    with httpx.Client(base_url=address, headers=token, timeout=SECONDS, trust_env=False) as client:
        yield client


def made(http: httpx.Client, sha: str) -> None:
    def probe() -> bool | str:
        state = http.get("/v1/docs").json()
        assert state["commit"] == sha
        return state["state"] == "ready" or str(state)

    wait_until("the documentation to be made", probe)


def frame_of(page: Page) -> Frame:
    """The frame that has dbt's own page."""

    def probe() -> Frame | str:
        # By its address: an element has no frame while the browser moves a sandboxed one to a
        # process of its own, and where that meets another address, none for good.
        there = [frame for frame in page.frames if urlsplit(frame.url).path == "/docs/frame"]
        page.wait_for_selector("#docs-frame")
        return there[-1] if there else f"frames: {[frame.url for frame in page.frames]}"

    return wait_until("the frame of dbt's page", probe)


def test_it_is_made_when_somebody_asks_for_it_and_shows_a_models_page(
    runner: Runner, http: httpx.Client, address: str, page: Page
) -> None:
    runner.execute("create schema if not exists analytics")
    runner.execute("create table if not exists analytics.stg_orders (id bigint, mail text)")
    live = runner.client.status().to_json()["live"]["sha"]
    assert http.get("/v1/docs").json() == {"state": "none", "commit": live, "error": ""}
    queries = statements(runner)
    page.goto(f"{address}/docs/")
    assert "is not made" in page.locator("main").inner_text()
    assert http.get("/v1/docs").json()["state"] == "none", "opening it makes nothing"
    assert http.get("/docs/frame").status_code == 404
    with runner.catalog_held():
        page.get_by_role("button", name="Make it").click()
        expect(page.locator("main")).to_contain_text("being made")
        assert http.post("/v1/docs").json()["state"] == "making", "one is made at a time"
    page.wait_for_selector("#docs-frame", timeout=SECONDS * 1000)
    frame_of(page).wait_for_selector("text=Welcome to the auto-generated documentation")
    assert http.get("/docs/.json").json() == http.get("/v1/docs").json()
    page.goto(f"{address}/docs/#!/model/model.shop.stg_orders")
    shown = frame_of(page)
    shown.wait_for_selector("text=Orders as they come.")
    # From the warehouse's catalog.
    shown.wait_for_selector("td:has-text('bigint')")
    shown.get_by_title("View Lineage Graph").click()
    shown.wait_for_selector("canvas")
    assert statements(runner) == queries, "a model has been compiled or run"
    assert "pg_" not in http.get("/v1/docs").json()["error"]
    assert len(list(runner.home.commits.glob(f"*/{DOCS_FILE}"))) == 1
    assert not list(runner.home.runs.glob("plan-*"))


def statements(runner: Runner) -> Any:
    """How many rows were written, and how many tables there are."""
    return runner.query(
        "select count(*) from pg_class where relnamespace = 'analytics'::regnamespace"
    )


@pytest.fixture(scope="module")
def described(runner: Runner) -> str:
    """Another commit, with a hostile description."""
    properties = runner.repository / "dbt" / "models" / "shop.yml"
    text = "\n".join(f"      {line}" for line in HOSTILE.splitlines())
    was = "    description: Orders as they come.\n"
    assert was in properties.read_text()
    properties.write_text(properties.read_text().replace(was, f"    description: |\n{text}\n"))
    sha = git_commit(runner.repository, "Describe it </script>")
    runner.live(sha)
    return sha


def test_what_could_not_be_made_says_why_and_is_made_later(
    runner: Runner, http: httpx.Client, address: str, page: Page, described: str
) -> None:
    with runner.connect("postgres") as superuser:
        superuser.execute("alter role dbt nologin")
    page.goto(f"{address}/docs/")
    page.get_by_role("button", name="Make it").click()
    page.wait_for_selector("text=could not be made", timeout=SECONDS * 1000)
    shown = page.locator("main").inner_text()
    assert "is not permitted to log in" in shown
    state = http.get("/v1/docs").json()
    assert state["state"] == "none" and "not permitted" in state["error"]
    with runner.connect("postgres") as superuser:
        superuser.execute("alter role dbt login")
    assert http.post("/v1/docs").json()["state"] == "making"
    made(http, described)


def test_a_hostile_description_reaches_nothing(
    http: httpx.Client, address: str, page: Page, described: str
) -> None:
    answer = http.get("/docs/frame")
    for name, value in SANDBOX.items():
        assert answer.headers[name] == value
    plain = http.get("/docs/frame", headers={"Accept-Encoding": "identity"})
    assert plain.text == answer.text
    in_a_tab = http.get("/docs/frame", headers={"Sec-Fetch-Dest": "document"})
    assert (in_a_tab.status_code, in_a_tab.headers["location"]) == (303, "/docs/")
    assert "frame-src 'self'" in http.get("/docs/").headers["content-security-policy"]
    page.context.add_cookies([{"name": "login", "value": "secret", "url": address}])
    page.goto(f"{address}/now.json")
    assert "login=secret" in page.evaluate("document.cookie"), "another page can read it"
    page.goto(f"{address}/docs/#!/model/model.shop.stg_orders")
    frame = frame_of(page)
    # dbt's page shows descriptions as HTML, so the code does run.
    frame.wait_for_function("() => window.ran === 'onerror'")
    frame.wait_for_function(f"() => Object.keys(window.tried).length === {len(TRIED)}")
    assert frame.evaluate("window.tried") == dict.fromkeys(TRIED, "refused")
    assert frame.evaluate("window.origin") == "null"
    with pytest.raises(Error, match="SecurityError|permission"):
        frame.evaluate("() => { top.location.href = '/commits'; }")
    assert page.url == f"{address}/docs/#!/model/model.shop.stg_orders"
    assert len(page.context.pages) == 1
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    frame.evaluate(FORM)
    page.goto(f"{address}/docs/#!/overview")
    assert not [url for url in sent if "language" in url], "a form was sent"
