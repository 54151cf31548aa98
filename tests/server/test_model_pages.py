"""The pages of models on a real runner: what they show of commits, runs and the warehouse."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from playwright.sync_api import expect

from mage_dbt.model.commit import Commit
from mage_dbt.model.run import Run, RunState
from tests.harness.accessibility import violations
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PROJECT = "described"

ORDERS = "model.described.fct_orders"


@pytest.fixture(scope="module")
def http(runner: Runner) -> Iterator[httpx.Client]:
    """A browser on this machine."""
    address = f"http://127.0.0.1:{runner.settings.runner_port}"
    with httpx.Client(base_url=address, timeout=SECONDS, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def built(runner: Runner) -> Run:
    """A build of everything; one test of it warns."""
    run = runner.run(why="the beginning", caller="Kim <script>")
    assert run.state is RunState.SUCCESS, run.detail
    return run


def shown(http: httpx.Client, path: str, **headers: str) -> str:
    answer = http.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


def words(html: str) -> str:
    """What a person reads of a page."""
    inside = re.sub(r"<(script|title)[^>]*>.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", re.sub("</?bdi>", "", inside))).split())


def model(http: httpx.Client, name: str) -> dict[str, Any]:
    answer = http.get(f"/models/{name}.json")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# -------------------------------------------------------------------- the list


def test_the_list_says_what_each_model_is_and_when_it_last_ran(
    http: httpx.Client, built: Run
) -> None:
    text = words(shown(http, "/models"))
    for name in ("fct_orders", "stg_orders", "raw_orders", "orders_kept"):
        assert name in text
    assert "One row for each order that was paid; discount is in percent." in text
    assert "table, new rows are added" in text
    assert "view, reads afresh each time" in text
    assert "table from a CSV file" in text
    assert "history of changes" in text
    lines = http.get("/models.json").json()["models"]
    orders = next(line for line in lines if line["name"] == "fct_orders")
    assert orders["last"]["run"] == built.id
    assert orders["last"]["status"] == "success"
    assert orders["usual_seconds"] > 0


def test_the_search_needs_no_script_and_finds_words_of_descriptions(
    http: httpx.Client, built: Run
) -> None:
    found = http.get("/models.json", params={"search": "had a discount"}).json()
    assert [line["name"] for line in found["models"]] == ["fct_order_discounts"]
    text = shown(http, "/models?search=had+a+discount")
    assert 'value="had a discount"' in text
    assert "1 match for" in words(text)
    none = words(shown(http, "/models?search=%3Cscript%3Ealert(1)%3C/script%3E"))
    assert "No model, seed or snapshot has such a name or description." in none


@pytest.mark.parametrize("page", ["0", "-1", "2", "999999", "x", "٣", ""])
def test_a_page_that_is_not_there_is_the_nearest_one(http: httpx.Client, page: str) -> None:
    assert http.get("/models.json", params={"page": page}).json()["page"] == 1


def test_the_names_for_the_picker_are_sent_once_for_each_commit(
    runner: Runner, http: httpx.Client
) -> None:
    first = http.get("/models/names.json")
    data = first.json()
    assert data["commit"] == runner.client.status().live.sha  # type: ignore[union-attr]
    by_name = {entry["name"]: entry for entry in data["models"]}
    assert by_name["fct_orders"] == {
        "node": ORDERS,
        "name": "fct_orders",
        "type": "model",
        "description": "One row for each order that was paid; discount is in percent.",
    }
    again = http.get("/models/names.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert "no-cache" in first.headers["cache-control"]


# ------------------------------------------------------------------- one model


def test_the_page_of_a_model_says_what_is_known_of_it(http: httpx.Client, built: Run) -> None:
    data = model(http, "fct_orders")
    assert data == http.get(f"/models/{ORDERS}.json").json()
    assert data["node"] == ORDERS
    assert data["materialized"] == "incremental"
    assert data["no_refresh"] is None
    assert data["path"] == "models/fct_orders.sql"
    assert data["results"][0]["run"] == built.id
    assert data["built"]["run"] == built.id
    assert data["built"]["rows"] == 3
    assert [near["name"] for near in data["upstream"]] == ["stg_orders", "raw_orders"]
    assert [near["distance"] for near in data["upstream"]] == [1, 2]
    assert {near["name"] for near in data["downstream"]} == {"fct_order_discounts", "daily_revenue"}
    assert {column["name"] for column in data["columns"]} == {"id", "discount", "amount"}
    assert next(column for column in data["columns"] if column["name"] == "amount")["hidden"]
    assert [commit["subject"] for commit in data["commits"]] == ["Begin"]
    text = words(shown(http, "/models/fct_orders"))
    assert "models/fct_orders.sql" in text
    assert "3 tests" not in text, "one of them warns"
    assert "1 of its tests did not pass in the last 30 days" in text
    assert "select id, amount, discount" in text
    assert f"From run {built.id}" in text


def test_tests_that_fail_most_come_first_with_how_often(http: httpx.Client, built: Run) -> None:
    tests = model(http, "fct_orders")["tests"]
    first = tests[0]
    assert first["name"] == "discounts_are_small"
    assert first["last"]["status"] == "warn"
    assert (first["failures_30"], first["failures_90"], first["results"]) == (1, 1, 1)
    assert first["failed_run"] == built.id
    assert all(test["failures_90"] == 0 for test in tests[1:])
    assert len(tests) == 4
    assert all(test["known_since"] for test in tests)


def test_reports_behind_a_model_are_named_and_only_web_addresses_are_links(
    http: httpx.Client, built: Run
) -> None:
    reports = {report["label"]: report for report in model(http, "fct_orders")["reports"]}
    board = reports['Board "dashboard" <i>']
    assert board["url"] == "https://bi.example.com/board?a=1&b=2"
    assert (board["owner"], board["direct"]) == ("Kim", False)
    assert reports["sneaky"]["url"] == ""
    assert "javascript:" not in shown(http, "/models/fct_orders")


@pytest.mark.parametrize(
    ("name", "reason", "sentence"),
    [
        ("stg_orders", "view", "A view holds no rows"),
        ("orders_kept", "snapshot", "A refresh would lose its history"),
        ("daily_revenue", "kept", "Its configuration keeps its rows"),
        ("fct_orders", None, "A refresh builds all rows anew"),
        ("raw_orders", None, "A refresh builds all rows anew"),
    ],
)
def test_a_refresh_that_makes_no_sense_says_why(
    http: httpx.Client, name: str, reason: str | None, sentence: str
) -> None:
    assert model(http, name)["no_refresh"] == reason
    html = shown(http, f"/models/{name}")
    assert sentence in words(html)
    assert ("/ask/refresh" in html) == (reason is None)
    assert "/ask/run" in html


def test_a_name_that_several_nodes_have_is_a_choice(http: httpx.Client) -> None:
    assert http.get("/models/dim_dates.json").json() == {
        "name": "dim_dates",
        "nodes": ["model.described.dim_dates", "model.lib.dim_dates"],
    }
    html = shown(http, "/models/dim_dates")
    assert 'href="/models/model.lib.dim_dates"' in html
    assert "Which dim_dates?" in words(html)
    assert model(http, "model.lib.dim_dates")["package"] == "lib"


def test_a_misspelt_name_is_answered_with_the_nearest(runner: Runner, http: httpx.Client) -> None:
    page = http.get("/models/fct_ordrs")
    assert page.status_code == 404
    assert "Did you mean fct_orders" in page.text
    assert "/v1/" not in words(http.get("/models/zzzzzzzz").text)
    for wrong in ("x%00y", "a" * 400, "model.x.y", "%F0%9F%A6%86"):
        assert http.get(f"/models/{wrong}").status_code == 404, wrong
        assert http.get(f"/models/{wrong}.json").json()["type"] == "urn:mage-dbt:not-found"


def test_the_api_shows_the_same_and_asks_which_one(
    runner: Runner, http: httpx.Client, built: Run
) -> None:
    token = {"Authorization": f"Bearer {runner.home.api_token.read_text()}"}
    answer = http.get("/v1/models/fct_orders", headers=token)
    assert answer.json() == model(http, "fct_orders")
    several = http.get("/v1/models/dim_dates", headers=token)
    assert several.status_code == 422
    assert "model.lib.dim_dates" in several.json()["hint"]
    unknown = http.get("/v1/models/fct_ordrs", headers=token)
    assert unknown.json()["type"] == "urn:mage-dbt:not-found"
    assert "fct_orders" in unknown.json()["hint"]


def test_text_that_people_wrote_is_never_markup(http: httpx.Client, built: Run) -> None:
    html = shown(http, "/models/fct_orders")
    for hostile in ("<img", "<b>tag", "<script>alert", "<script>document", "<u>Lee", "Kim <script"):
        assert hostile not in html, hostile
    assert "<strong>order</strong>" in html
    assert "<code>discount</code>" in html
    assert "&lt;img src=x" in html


def test_a_failure_and_a_column_that_is_new_show_on_both_pages(
    runner: Runner, http: httpx.Client, built: Run
) -> None:
    file = runner.repository / "models" / "fct_orders.sql"
    before = file.read_text()
    runner.publish(
        "Add a column <b>",
        fct_orders=before.replace(
            "id, amount, discount\n", "id, amount, discount, 'new' as kind\n"
        ),
    )

    def surveyed() -> bool | str:
        survey = runner.client.status().survey
        return bool(survey and survey.changed) or str(survey)

    wait_until("the survey to see the column", surveyed)
    listed = http.get("/models.json").json()
    assert [changed["node"] for changed in listed["changed"]] == [ORDERS]
    text = words(shown(http, "/models"))
    assert "1 table has other columns than its model" in text
    assert "+ kind text" in text
    assert "Its table has other columns than its query" in words(shown(http, "/models/fct_orders"))
    assert model(http, "fct_orders")["commits"][0]["subject"] == "Add a column <b>"

    refreshed = runner.run(operation="full_refresh", models=["fct_orders"], why="a column")
    assert refreshed.state is RunState.SUCCESS, refreshed.detail

    def kept() -> bool | str:
        data = model(http, "fct_orders")
        return bool(data["kept"] and not data["changed"]) or f"{data['kept']}, {data['changed']}"

    wait_until("the former table to be known", kept)
    html = shown(http, "/models/fct_orders")
    assert "Undo is possible until" in words(html)
    assert "/ask/undo" in html
    assert model(http, "fct_orders")["built"]["run"] == refreshed.id

    runner.publish(
        "Break the discounts",
        fct_order_discounts="select id / 0 as id from {{ ref('fct_orders') }}",
    )
    failed = runner.run(models=["fct_order_discounts"])
    assert failed.state is RunState.ERROR
    data = model(http, "fct_order_discounts")
    assert data["results"][0]["status"] == "error"
    assert data["built"]["run"] == built.id
    assert "division by zero" in words(shown(http, "/models/fct_order_discounts"))
    near = {other["name"]: other for other in model(http, "fct_orders")["downstream"]}
    assert near["fct_order_discounts"]["last"]["status"] == "error"


def test_a_model_that_is_gone_keeps_its_history(
    runner: Runner, http: httpx.Client, built: Run
) -> None:
    runner.publish("Remove a model", word_display=None)
    data = model(http, "model.described.word_display")
    assert (data["there"], data["no_refresh"]) == (False, "gone")
    assert data["results"][0]["run"] == built.id
    text = words(shown(http, "/models/model.described.word_display"))
    assert "The live commit does not have it any more." in text
    assert model(http, "word_display")["node"] == "model.described.word_display"
    assert "does not have it any more" in words(shown(http, "/models/word_display"))


def test_what_is_gone_is_listed_where_models_are_with_the_table_that_is_left(
    runner: Runner, http: httpx.Client, built: Run
) -> None:
    if (runner.repository / "models" / "word_display.sql").exists():
        runner.publish("Remove a model", word_display=None)
    listed = http.get("/models.json").json()
    (gone,) = listed["gone"]
    assert listed["gone_total"] == 1
    assert (gone["node"], gone["built_run"]) == ("model.described.word_display", built.id)
    page = shown(http, "/models")
    text = words(page)
    assert "1 more is no longer in dbt-metric" in text
    assert gone["relation"].replace('"', "") in text
    assert 'href="/models/model.described.word_display"' in page
    assert http.get("/models.json", params={"search": "word"}).json()["gone"] == [gone]
    assert http.get("/models.json", params={"search": "fct"}).json()["gone"] == []
    assert "no longer in dbt-metric" not in words(shown(http, "/models?search=fct"))


def test_a_file_outside_the_repository_is_not_shown(runner: Runner, http: httpx.Client) -> None:
    """A commit that leads out never becomes live, so the file is exchanged behind its back."""
    secret = runner.home.root / "elsewhere.sql"
    secret.write_text("select 1 as not_for_readers")
    live = runner.client.status().live
    assert live is not None
    [ready] = runner.home.commits.glob(f"{live.sha[:12]}-*/ready.json")
    [file] = Commit.read(ready.parent).project.glob("models/**/stg_orders.sql")
    source, mode = file.read_text(), file.parent.stat().st_mode
    file.parent.chmod(0o700)
    file.unlink()
    file.symlink_to(secret)
    try:
        answer = http.get("/models/stg_orders.json")
        assert "not in the repository's own folder" in answer.text, answer.text[:500]
        assert "not_for_readers" not in answer.text
        assert "not_for_readers" not in http.get("/models/stg_orders").text
    finally:
        file.unlink()
        file.write_text(source)
        file.parent.chmod(mode)


# ------------------------------------------------------------------ in a browser


@pytest.fixture
def window(runner: Runner, page: Page) -> Page:
    page.set_viewport_size({"width": 1280, "height": 900})
    return page


def address(runner: Runner, path: str) -> str:
    return f"http://127.0.0.1:{runner.settings.runner_port}{path}"


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("ko", "dark")])
def test_the_pages_are_usable_by_everybody(
    runner: Runner, window: Page, built: Run, language: str, scheme: str
) -> None:
    window.set_extra_http_headers({"Accept-Language": language})
    window.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for path in ("/models", "/models/fct_orders", "/models/dim_dates", "/models/stg_orders"):
        for width in (1280, 360):
            window.set_viewport_size({"width": width, "height": 900})
            window.goto(address(runner, path))
            for details in window.locator("details").all():
                details.evaluate("element => element.open = true")
            assert violations(window) == [], f"{path} {width}"
            wide = window.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} scrolls sideways at {width}"
            keep(window, f"{path.strip('/').replace('/', '-')}-{language}-{scheme}-{width}")
        assert "broken in" not in window.title()


PAST_RUNS = """
insert into ledger.run (
    id, asked_at, operation, cause, caller, why, request, commit, commit_subject, target,
    dbt_version, late_seconds
)
select
    '20260101-000000-' || lpad(to_hex(day), 6, '0'), now() - make_interval(days => day), 'build',
    'schedule', 'the schedule', '', '{}', '3f2c1ab', 'A change', 'prod', '1.11', 0
from generate_series(1, 60) as day
"""

PAST_RESULTS = """
insert into ledger.node_result (
    run, node, at, name, type, status, seconds, rows, message, because, relation, materialized
)
select
    '20260101-000000-' || lpad(to_hex(day), 6, '0'), %(node)s, now() - make_interval(days => day),
    'fct_orders', 'model', case when day in (9, 31) then 'error' else 'success' end,
    20 + 60.0 / day + day %% 7, case when day not in (9, 31) then 9000 - day * 70 end,
    case when day in (9, 31) then 'column orders.discount_codes does not exist' else '' end,
    '', 'analytics.fct_orders', 'incremental'
from generate_series(1, 60) as day
"""


@pytest.fixture(scope="module")
def past(runner: Runner, built: Run) -> None:
    """Two months of results."""
    with psycopg.connect(runner.postgres.url("ledger"), autocommit=True) as connection:
        connection.execute(PAST_RUNS)
        connection.execute(PAST_RESULTS, {"node": ORDERS})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_are_drawn_and_the_policy_is_not_broken(
    runner: Runner, window: Page, past: None, scheme: str
) -> None:
    complaints: list[str] = []
    window.on("console", lambda message: complaints.append(message.text))
    window.on("pageerror", lambda error: complaints.append(str(error)))
    window.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    window.goto(address(runner, f"/models/{ORDERS}"))
    expect(window.locator("figure canvas")).to_have_count(2)
    keep(window, f"charts-{scheme}")
    window.set_viewport_size({"width": 360, "height": 900})
    wait_until(
        "the charts to fit a phone",
        lambda: bool(window.evaluate("document.documentElement.scrollWidth <= 360")) or "too wide",
    )
    assert complaints == []


def many(route: Route) -> None:
    """5,000 names, as a large commit has them."""
    kinds = ("stg", "int", "fct", "dim", "rpt")
    things = ("orders", "sessions", "customers", "border_dispatch", "support", "invoices")
    models = [
        {
            "node": f"model.big.{kind}_{thing}_{number}",
            "name": f"{kind}_{thing}_{number}",
            "type": "model",
            "description": f"{thing} number {number} <script>document.title='broken in'</script>",
        }
        for number in range(167)
        for kind in kinds
        for thing in things
    ][:4_998]
    for node, name, description in (
        ("model.big.fct_order_discounts", "fct_order_discounts", "Orders that had a discount."),
        (ORDERS, "fct_orders", "주문 한 건마다 한 줄"),
    ):
        models.append({"node": node, "name": name, "type": "model", "description": description})
    route.fulfill(json={"commit": "0" * 40, "models": models})


def test_the_picker_finds_one_of_5000_models(runner: Runner, window: Page, built: Run) -> None:
    window.route("**/models/names.json", many)
    window.goto(address(runner, "/models"))
    window.keyboard.press("/")
    options = window.get_by_role("option")
    options.first.wait_for()
    field = window.get_by_role("combobox")
    for typed, first in (
        ("ord dis", "fct_order_discounts"),
        ("fct_order_dis", "fct_order_discounts"),
        ("discounts order", "fct_order_discounts"),
        ("fct_order_dsicounts", "fct_order_discounts"),
        ("fct_orders", "fct_orders"),
        ("had a discount", "fct_order_discounts"),
        ("주문 한", "fct_orders"),
    ):
        field.fill(typed)
        expect(options.first.locator("b"), typed).to_have_text(first)
    field.fill("ord dis")
    expect(options.first.locator("b")).to_have_text("fct_order_discounts")
    assert violations(window) == []
    keep(window, "picker")
    expect(options.first).to_have_attribute("aria-selected", "true")
    expect(field).to_have_attribute("aria-activedescendant", "found-0")
    expect(options.first).to_have_id("found-0")
    window.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    window.keyboard.press("ArrowUp")
    expect(options.first).to_have_attribute("aria-selected", "true")
    window.keyboard.press("Enter")
    window.wait_for_url("**/models/model.big.fct_order_discounts")
    assert "broken in" not in window.title()


def test_the_picker_leads_to_the_models_page(runner: Runner, window: Page, built: Run) -> None:
    window.goto(address(runner, "/models/stg_orders"))
    window.get_by_text("Find a model").first.click()
    window.get_by_role("combobox").press_sequentially("ord dis")
    # A list that is there before the last letter may begin with another.
    expect(window.get_by_role("option").first).to_contain_text("fct_order_discounts")
    window.keyboard.press("Enter")
    window.wait_for_url("**/models/model.described.fct_order_discounts")


def test_the_picker_says_when_nothing_is_called_so(runner: Runner, window: Page) -> None:
    window.goto(address(runner, "/models"))
    window.keyboard.press("/")
    window.get_by_role("option").first.wait_for()
    window.get_by_role("combobox").fill("qqqqqq")
    window.get_by_text("No model, seed or snapshot has such a name.").wait_for()
    window.keyboard.press("Escape")
    expect(window.locator("#find")).to_be_hidden()


def keep(window: Page, name: str) -> None:
    """Leaves a picture of the whole page where PICTURES says, for somebody to look at."""
    if folder := os.environ.get("PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        window.screenshot(path=Path(folder, f"{name}.png"), full_page=True)
