"""People at the workspace's own page: what they click is counted, what goes wrong is kept."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from mage_dbt.errors import Conflict
from mage_dbt.model.now import NowState
from mage_dbt.model.run import Run, RunState
from mage_dbt.server.pages import languages
from tests.harness.models import FACTS, sleepy
from tests.harness.repository import PROJECTS, git
from tests.harness.waiting import SECONDS
from tests.harness.workspace import Workspace

MOST_CLICKS = 3
"""That a task may take, by the page's promise."""

LOCALES = {"en": "en-US", "ko": "ko-KR"}

WATCH = """
window.pagesBegun = performance.now();
document.addEventListener('securitypolicyviolation', (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""
"""What each page reports beside its own errors."""

NUMBERS = (PROJECTS / "steps" / "models" / "numbers.sql").read_text()
RENAMED = NUMBERS.replace("as amount", "as amounts")
WITH_DOUBLE = FACTS.replace("    amount\n", "    amount,\n    amount * 2 as double\n")


class Visit:
    """A person's browser on the workspace's page."""

    def __init__(self, browser: Browser, base: str, language: str = "en", **options: Any) -> None:
        """`base` is where the first page is, without its last `/`."""
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        self.context: BrowserContext = browser.new_context(locale=LOCALES[language], **options)
        self.context.set_default_timeout(SECONDS * 1000)
        self.context.add_init_script(WATCH)
        expect.set_options(timeout=SECONDS * 1000)
        self.base = base
        self.language = language
        self.clicks = 0
        self.complaints: list[str] = []
        """What the console and the page's policy complained of."""
        self.page = self.open_tab()

    def open_tab(self) -> Page:
        page = self.context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({self.page.url})")

    def say(self, text: str, **values: object) -> str:
        """A text of the page in the reader's language; `text` is the English one."""
        found = languages.translations(self.language).gettext(text)
        return found % values if values else found

    def say_number(self, one: str, many: str, number: int, **values: object) -> str:
        """The same for a text that depends on a number."""
        found = languages.translations(self.language).ngettext(one, many, number)
        return found % {"num": number, **values}

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.base + path)
        return self.page

    def choose_language(self, language: str) -> None:
        """By the button above every page, where it is another; behind a login it is kept."""
        if self.page.locator("html").get_attribute("lang") != language:
            name = languages.LANGUAGES[language]
            self.page.get_by_role("button", name=name, exact=True).click()
            expect(self.page.locator("html")).to_have_attribute("lang", language)
        self.language = language

    def click(self, target: Locator) -> None:
        """A click that counts."""
        self.clicks += 1
        target.click()

    def button(self, text: str, **values: object) -> Locator:
        return self.page.get_by_role("button", name=self.say(text, **values), exact=True)

    def link(self, text: str, **values: object) -> Locator:
        return self.page.get_by_role("link", name=self.say(text, **values), exact=True)

    @contextmanager
    def task(self, name: str) -> Iterator[None]:
        """Counts the clicks of a task and prints them with its seconds.

        Seconds are not asserted: the machine may be busy with other tests.
        """
        self.clicks, begun = 0, time.monotonic()
        yield
        seconds = time.monotonic() - begun
        print(f"\n{name} ({self.language}): {self.clicks} clicks, {seconds:.1f} s")
        assert self.clicks <= MOST_CLICKS, f"{name}: {self.clicks} clicks"

    def is_same_page(self) -> None:
        """Marks the page, so that `assert_not_reloaded` can tell whether it is still the same."""
        self.page.evaluate("window.stillTheSame = true")

    def assert_not_reloaded(self) -> None:
        assert self.page.evaluate("window.stillTheSame === true"), "the page was loaded again"

    def run_id(self) -> str:
        """The run whose page is open."""
        self.page.wait_for_url("**/runs/*")
        return self.page.url.rpartition("/")[2].partition("?")[0]

    def assert_fits(self, width: int) -> None:
        """The page does not scroll sideways in a window of this width."""
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{self.page.url} is {wide} px wide in a window of {width}"

    def close(self) -> None:
        self.context.close()


def sign_in(visit: Visit, name: str) -> Visit:
    """Through the provider's page, at the first address that is opened."""
    visit.open()
    visit.page.get_by_role("button", name=name, exact=True).click()
    visit.page.locator("#strip").wait_for()
    return visit


class HeldPackage:
    """A package of dbt that is not delivered before `release`.

    Whoever declares it is being made ready until then, however fast the machine is.
    """

    NAME = "held"

    def __init__(self) -> None:
        self._released = threading.Event()
        self.asked = threading.Event()
        held = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                held.asked.set()
                held._released.wait(SECONDS)
                body = _archive(held.NAME)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def declaration(self) -> str:
        """For packages.yml."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}/{self.NAME}.tar.gz"
        return f"packages:\n  - tarball: {address}\n    name: {self.NAME}\n"

    def release(self) -> None:
        self._released.set()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()


def _archive(name: str) -> bytes:
    """The smallest package of dbt."""
    text = f'name: {name}\nversion: "1.0.0"\nconfig-version: 2\n'.encode()
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w:gz") as archive:
        folder = tarfile.TarInfo(name)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        info = tarfile.TarInfo(f"{name}/dbt_project.yml")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    return found.getvalue()


class Team:
    """What colleagues do while somebody looks at the page; at the end all is as it was."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._first = git(workspace.repository, "rev-parse", "HEAD")

    def healthy(self) -> None:
        """The repository as it was, and nothing red: the test before may have left something."""
        self._restore()
        good = self.workspace.client.now().state in (NowState.PASSED, NowState.REPAIRED)
        if not good or "double" in self.columns("analytics.facts"):
            self._build()

    def put_right(self) -> None:
        """The repository as it was, and everything built from it."""
        self._restore()
        self._build()

    def _restore(self) -> None:
        for run in self.workspace.client.runs(limit=20):
            if not run.state.final:
                with suppress(Conflict):  # it is over by now
                    self.workspace.client.cancel(run.id, "test")
                self.workspace.over(run)
        repository = self.workspace.repository
        git(repository, "read-tree", "-u", "--reset", self._first)
        git(repository, "clean", "--quiet", "-d", "--force")
        if git(repository, "status", "--porcelain"):
            self.workspace.live(self.workspace.commit("As it was"))

    def _build(self) -> None:
        if "double" in self.columns("analytics.facts"):
            # An incremental build would look for the column that the model no longer has.
            assert self.workspace.run(models="numbers").state is RunState.SUCCESS
            done = self.workspace.run(operation="full_refresh", models="facts")
            assert done.state is RunState.SUCCESS, done.detail
        build = self.workspace.run(why="as it was")
        assert build.state is RunState.SUCCESS, build.detail

    def write(self, path: str, text: str) -> None:
        file = self.workspace.repository / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def failed_morning(self) -> Run:
        """A colleague renames a column that another model reads, and everything is built."""
        self.workspace.publish("Name amounts for what they are", numbers=RENAMED)
        build = self.workspace.run()
        assert build.state is RunState.ERROR
        return build

    def columns(self, relation: str) -> list[str]:
        schema, name = relation.split(".")
        rows = self.workspace.query(
            "select column_name from information_schema.columns where table_schema = %s"
            " and table_name = %s order by ordinal_position",
            schema,
            name,
        )
        return [name for (name,) in rows]

    def rows(self, relation: str) -> list[Any]:
        return self.workspace.query(f"select * from {relation} order by 1")

    def over(self, run: str) -> Run:
        return self.workspace.over(self.workspace.client.run(run))


# ------------------------------------------------------------------ the tasks


def why_did_it_fail(visit: Visit) -> None:
    """The first page says what, why, who changed what, and what waits. Nothing is clicked."""
    page = visit.open()
    with visit.task("Why did this morning's build fail?"):
        hero = page.locator(".hero")
        expect(hero).to_have_class("hero red")
        card = page.locator("#cause-1")
        expect(card.locator(".tag").first).to_have_text(visit.say("code"))
        expect(card).to_contain_text('column "amount" does not exist')
        expect(card).to_contain_text("models/numbers.sql")
        expect(card).to_contain_text("Kim")
        expect(card).to_contain_text("Name amounts for what they are")
        expect(card.locator(".del").first).to_contain_text("n * 10 as amount")
        expect(card.locator(".add").first).to_contain_text("n * 10 as amounts")
        for waiting in ("facts", "totals"):
            expect(
                card.locator("table").get_by_role("link", name=waiting, exact=True)
            ).to_be_visible()
        expect(page).to_have_title(f"● {visit.say('Red')} – dbt-metric")


def run_it_again(visit: Visit, team: Team, held: HeldPackage) -> None:
    """The repair is being made ready, so the button waits; then one click."""
    page, workspace = visit.page, team.workspace
    visit.is_same_page()
    team.write("packages.yml", held.declaration)
    sha = workspace.commit("Call them amount again", numbers=NUMBERS)
    label = "Run what failed on %(sha)s"
    try:
        button = visit.button(label, sha=sha[:7])
        expect(button).to_be_disabled()
        assert workspace.client.status().to_json()["preparing"] == sha
        described = page.locator(f"#{button.get_attribute('aria-describedby')}")
        expect(described).not_to_be_empty()
        expect(page.locator("#strip")).to_contain_text("Call them amount again")
    finally:
        held.release()
        (workspace.repository / "packages.yml").unlink()
    workspace.live(sha)
    with visit.task("Run it again: what failed"):
        expect(button).to_be_enabled()
        visit.assert_not_reloaded()
        visit.click(button)
        run = team.over(visit.run_id())
        assert run.state is RunState.SUCCESS, run.detail
        assert run.commit == sha
        expect(page.locator("h1 .tag")).to_have_text(visit.say("Success"))
    visit.open()
    expect(page.locator(".hero")).to_have_class("hero green")


def run_one_model(visit: Visit, team: Team) -> None:
    """By a few letters, without a mouse up to the model's page."""
    page = visit.open()
    with visit.task("Run it again: one model"):
        page.keyboard.press("/")
        page.get_by_role("option").first.wait_for()
        page.keyboard.type("num")
        expect(page.get_by_role("option").first).to_contain_text("Numbers and ten times as much.")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("numbers")
        visit.click(visit.link("Run"))
        last_run = visit.say("Last run: %(when)s, %(status)s, took %(time)s, by %(caller)s")
        expect(page.get_by_text(last_run.partition("%")[0].strip())).to_be_visible()
        visit.click(visit.button("Run"))
        run = team.over(visit.run_id())
        assert run.state is RunState.SUCCESS, run.detail
        assert {node.name for node in run.nodes if node.type == "model"} == {"numbers"}
        expect(page.locator("h1 .tag")).to_have_text(visit.say("Success"))


def add_a_column(visit: Visit, team: Team, who: str) -> None:
    """The page knows it, shows what a refresh would do, compares, swaps, and takes it back."""
    page, workspace = visit.open(), team.workspace
    before = team.rows("analytics_reporting.facts_view")
    visit.is_same_page()
    workspace.publish("Double the amounts", facts=WITH_DOUBLE)
    with visit.task("I added a column"):
        look = visit.link("Look what a refresh would do")
        expect(look).to_be_visible()
        visit.assert_not_reloaded()
        visit.click(look)
        expect(page.locator("main")).to_contain_text("double")
        expect(page.locator("main")).to_contain_text("facts_view")
        visit.click(visit.button("Refresh, and show me first"))
        run = visit.run_id()
        swap = visit.button("Swap")
        expect(swap).to_be_disabled()
        assert "double" not in team.columns("analytics.facts")
        expect(page.locator("main")).to_contain_text(
            visit.say("%(name)s compared with the table of today", name="facts")
        )
        page.locator("#swap-name").fill("facts")
        visit.click(swap)
        assert team.over(run).state is RunState.SUCCESS
        expect(page.locator("h1 .tag")).to_have_text(visit.say("Success"))
    assert team.columns("analytics.facts") == ["id", "amount", "double"]
    assert team.rows("analytics_reporting.facts_view") == before
    with visit.task("I added a column: undo"):
        visit.click(visit.link("Undo"))
        page.locator("#name").fill("facts")
        visit.click(visit.button("Undo the refresh"))
        undone = team.over(visit.run_id())
        assert undone.state is RunState.SUCCESS, undone.detail
        expect(page.locator("h1 .tag")).to_have_text(visit.say("Success"))
    assert undone.caller == who
    assert team.columns("analytics.facts") == ["id", "amount"]
    assert team.rows("analytics_reporting.facts_view") == before


def what_is_running(visit: Visit, team: Team) -> None:
    """Two runs, of which the second waits for the first, and a way to end them."""
    page, workspace = visit.open(), team.workspace
    workspace.publish("A model that takes long", sleepy=sleepy())
    visit.is_same_page()
    first = workspace.ask(models="sleepy", why="first")
    workspace.running(first, "pg_sleep")
    second = workspace.ask(models="sleepy", why="second")
    with visit.task("What is running, and what is it waiting for?"):
        rows = page.locator("tbody tr").filter(
            has=visit.button("Stop: %(run)s", run=visit.say("Build of %(models)s", models="sleepy"))
        )
        expect(rows).to_have_count(2)
        expect(rows.nth(0)).to_contain_text("first")
        expect(rows.nth(0)).to_contain_text("sleepy")
        expect(rows.nth(1)).to_contain_text(visit.say("Queued"))
        waits = {"en": "waiting for sleepy, held by build sleepy", "ko": "sleepy 대기 중: "}
        expect(rows.nth(1)).to_contain_text(waits[visit.language])
        visit.assert_not_reloaded()
        visit.click(rows.nth(1).get_by_role("button"))
        assert visit.run_id() == second.id
        assert team.over(second.id).state is RunState.CANCELLED
        visit.open()
        expect(rows).to_have_count(1)
        visit.click(rows.get_by_role("button"))
        assert visit.run_id() == first.id
        assert team.over(first.id).state is RunState.CANCELLED
        expect(page.locator("h1 .tag")).to_have_text(visit.say("Cancelled"))
    workspace.until_idle("pg_sleep")
