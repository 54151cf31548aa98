"""Twelve kinds of failure as cards: on the page in two languages, in the tool, an alert."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import httpx
import pytest

from mage_dbt.alerts import message
from mage_dbt.model.explanation import Cause, Explanation
from mage_dbt.model.run import Run
from tests.harness import runner as runners
from tests.harness.database import Database
from tests.harness.repository import git_commit
from tests.harness.runner import Runner
from tests.harness.waiting import SECONDS

ORDERS = 'select id, customer, amount from {{ source("raw", "orders") }}\n'
CHANGED = ORDERS.replace("amount from", "amount + 0 as amount from")

CODE = "Somebody has to change it; a rerun on the same version fails again."
CODE_KO = "누군가 코드를 고쳐야 합니다. 같은 버전으로 다시 실행하면 또 실패합니다."
RERUN = "The machine, the network or another session: a rerun may pass."
RERUN_KO = "서버, 네트워크 또는 다른 세션 때문입니다. 다시 실행하면 통과할 수 있습니다."
ROWS = "The rows are not as they should be: look at the data, or at what loads it."
ROWS_KO = "데이터가 기대와 다릅니다. 데이터나 데이터를 적재하는 쪽을 확인하세요."
TWICE = "Look at the rows that come twice, at what loads them, or at a join that doubles them."
TWICE_KO = "두 번 나오는 행, 그 행을 적재하는 쪽, 또는 행을 늘리는 조인을 확인하세요."

LATE = "source_recent_raw_payments_loaded_at__24"
NAMELESS = "not_null_customers_name"

CARDS = [
    (
        *("missing_column", "code", "missing_column reads a column that is not there.", CODE),
        *("missing_column에서 없는 열을 읽습니다.", CODE_KO),
    ),
    (
        *("missing_relation", "code", "missing_relation reads a table that is not there."),
        "Somebody has to correct the name, or to bring back what has it.",
        "missing_relation에서 없는 테이블을 읽습니다.",
        "누군가 이름을 고치거나, 없어진 것을 되돌려야 합니다.",
    ),
    (
        *("statement_timeout", "infrastructure"),
        "statement_timeout ran longer than the allowed time, and was stopped.",
        "A rerun may pass when the database has less to do."
        " If not, somebody has to make it faster.",
        "statement_timeout 실행이 허용된 시간을 넘겨 중단되었습니다.",
        "데이터베이스가 한가해지면 재실행이 통과할 수 있습니다."
        " 아니면 누군가 더 빠르게 고쳐야 합니다.",
    ),
    (
        *("deadlock", "infrastructure"),
        "deadlock and another session waited for each other (a deadlock).",
        *(RERUN, "deadlock 실행과 다른 세션이 서로를 기다렸습니다(교착 상태).", RERUN_KO),
    ),
    (
        *("lost_connection", "infrastructure"),
        "lost_connection lost its connection to the database.",
        *(RERUN, "lost_connection 실행 중 데이터베이스 연결이 끊겼습니다.", RERUN_KO),
    ),
    (
        *("out_of_disk", "infrastructure"),
        "The disk of the database was full when out_of_disk ran.",
        "A rerun may pass when somebody has made room on the disk of the database.",
        "out_of_disk 실행 중 데이터베이스의 디스크가 가득 찼습니다.",
        "누군가 데이터베이스의 디스크에 공간을 만들면 재실행이 통과할 수 있습니다.",
    ),
    (
        *("division_by_zero", "data", "division_by_zero divides by zero.", ROWS),
        *("division_by_zero에서 0으로 나눕니다.", ROWS_KO),
    ),
    (
        *("unique_violation", "data"),
        "Two rows of unique_violation have the same key, which may come only once.",
        *(TWICE, "unique_violation에 한 번만 나와야 할 키가 같은 행이 두 개 있습니다.", TWICE_KO),
    ),
    (
        *(NAMELESS, "data", f"The test {NAMELESS} of customers does not hold.", ROWS),
        *(f"customers의 테스트 {NAMELESS}을(를) 통과하지 못했습니다.", ROWS_KO),
    ),
    (
        *(LATE, "data", f"The test {LATE} of raw.payments does not hold."),
        "These rows come from outside of dbt: ask who loads them, then run it again.",
        f"raw.payments의 테스트 {LATE}을(를) 통과하지 못했습니다.",
        "이 데이터는 dbt 밖에서 들어옵니다. 적재하는 쪽에 물어본 뒤 다시 실행하세요.",
    ),
    (
        *("compilation", "code", "compilation uses a name that dbt does not know.", CODE),
        *("compilation에서 dbt가 모르는 이름을 사용합니다.", CODE_KO),
    ),
    (
        *("package_macro", "code", "A macro stopped package_macro with a message of its own."),
        *(CODE, "매크로가 메시지를 남기고 package_macro 실행을 중단했습니다.", CODE_KO),
    ),
]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, server: Database) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("cards")
    with runners.on_project(
        folder, server, "twelve_failures", **runners.due_at_midnight()
    ) as found:
        found.server.admin("grant pg_write_server_files to {}", "dbt")
        yield found


@pytest.fixture(scope="module")
def browser(runner: Runner) -> Iterator[httpx.Client]:
    address = f"http://127.0.0.1:{runner.settings.runner_port}"
    with httpx.Client(base_url=address, trust_env=False, timeout=SECONDS) as client:
        yield client


@pytest.fixture(scope="module")
def daily(runner: Runner) -> Run:
    return runner.daily_build()


@pytest.fixture(scope="module")
def failed(runner: Runner, daily: Run) -> Run:
    """All twelve at once, after a commit that changed what most of them read."""
    runner.publish("Round the <amounts>", orders=CHANGED)
    return runner.run(variables={"failing": ["all"]}, caller="kim")


@pytest.fixture(scope="module")
def again(runner: Runner, failed: Run) -> Run:
    """The same a second time, with one row more that the test finds."""
    return runner.run(variables={"failing": ["all"], "nameless": [3, 4]}, caller="kim")


@pytest.fixture(scope="module")
def repaired(runner: Runner, again: Run) -> Run:
    """Somebody else's run after another commit, in which only one of the twelve fails."""
    (runner.repository / "models" / "orders.sql").write_text(ORDERS)
    project = runner.repository / "dbt_project.yml"
    project.write_text(project.read_text() + "\nvars: {failing: [statement_timeout]}\n")
    runner.live(git_commit(runner.repository, "Take the amounts as they are"))
    return runner.run(caller="lee")


@pytest.fixture(scope="module")
def explanation(runner: Runner, failed: Run) -> Explanation:
    return runner.client.explanation(failed.id)


def cause_of(explanation: Explanation, name: str) -> tuple[int, Cause]:
    """The number of its card, and the cause, whose first node has the name, or its neighbour's."""
    found = [
        (number, cause)
        for number, cause in enumerate(explanation.causes, 1)
        if name in [node.name for node in cause.nodes]
    ]
    return found[0]


def page(browser: httpx.Client, path: str, language: str = "en") -> str:
    answer = browser.get(path, headers={"Accept-Language": language})
    assert answer.status_code == 200, answer.text
    return answer.text


def words(text: str) -> str:
    """What a person reads: without tags, in single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", text.replace("\n", " "))).split())


def card(
    browser: httpx.Client, run: Run, explanation: Explanation, name: str, language: str = "en"
) -> str:
    """The card of the cause on the run's page, as a person reads it."""
    number, _ = cause_of(explanation, name)
    text = page(browser, f"/runs/{run.id}", language)
    return words(text.split(f'id="cause-{number}"', 1)[1].split("</section>")[0])


@pytest.fixture(scope="module")
def shown(runner: Runner, failed: Run) -> str:
    """What the tool prints."""
    return runner.tool("show", failed.id)


@pytest.mark.parametrize(
    ("name", "kind", "sentence", "advice", "korean", "korean_advice"),
    CARDS,
    ids=[name for name, *_ in CARDS],
)
def test_each_failure_has_a_card_that_says_what_happened_and_what_to_do(
    browser: httpx.Client,
    failed: Run,
    explanation: Explanation,
    shown: str,
    name: str,
    kind: str,
    sentence: str,
    advice: str,
    korean: str,
    korean_advice: str,
) -> None:
    _, cause = cause_of(explanation, name)
    assert cause.failure_class == kind
    # Of nodes that failed of one cause the first to fail is named.
    first = cause.nodes[0].name
    sentence, korean = sentence.replace(name, first), korean.replace(name, first)
    assert (cause.sentence, cause.advice) == (sentence, advice)
    english = card(browser, failed, explanation, name)
    assert sentence in english and advice in english
    assert (cause.title in english) != (cause.failing_rows is not None)
    translated = card(browser, failed, explanation, name, "ko")
    assert korean in translated and korean_advice in translated
    assert f"    {sentence}\n" in shown
    assert advice in shown or advice in (CODE, RERUN, ROWS)


def test_an_alert_says_of_the_first_cause_what_the_card_says(
    failed: Run, explanation: Explanation
) -> None:
    alert = message.failure(failed, failed, None, "", "", ZoneInfo("UTC"), None, explanation)
    first = explanation.causes[0]
    happened = f"{first.sentence.removesuffix('.')}: {first.title}"
    assert first.nodes[0].name.startswith("missing_column")
    assert f"Why: code: {happened}; and {len(explanation.causes) - 1} more causes" in alert.body


def test_failures_of_one_cause_are_one_card_and_what_waits_is_counted(
    browser: httpx.Client, failed: Run, explanation: Explanation
) -> None:
    text = words(page(browser, f"/runs/{failed.id}"))
    assert f"{len(explanation.causes)} causes, 2 models wait" in text
    shown = card(browser, failed, explanation, "missing_column")
    assert "1 more failed in the same way" in shown
    assert "daily_revenue" in shown and "weekly_report read by “Board dashboard”" in shown
    assert "daily_revenue" not in card(browser, failed, explanation, "missing_relation")


def test_the_commit_that_changed_what_failed_is_shown_as_a_diff(
    browser: httpx.Client, failed: Run, explanation: Explanation
) -> None:
    shown = card(browser, failed, explanation, "division_by_zero")
    assert "What changed since it last passed" in shown and "models/orders.sql upstream" in shown
    assert f"+{' '.join(CHANGED.split())}" in shown and f"-{' '.join(ORDERS.split())}" in shown
    assert f"{failed.commit[:7]}," in shown and "Kim: “Round the <amounts>”" in shown


def test_where_no_code_changed_the_rows_of_the_last_builds_stand(
    browser: httpx.Client, failed: Run, explanation: Explanation
) -> None:
    shown = card(browser, failed, explanation, "missing_relation")
    assert "No code of which it is made. So look at the rows, or at the machine." in shown
    assert re.search(r"Rows in the last daily builds Day ?missing_relation .+ ?1\b", shown), shown


def test_rows_are_new_the_second_time_and_what_may_be_secret_is_hidden(
    runner: Runner, browser: httpx.Client, failed: Run, again: Run
) -> None:
    for run, new in ((failed, 0), (again, 1)):
        explanation = runner.client.explanation(run.id)
        shown = card(browser, run, explanation, NAMELESS)
        assert len(re.findall(r"paid \dnew", shown)) == new, shown
        assert "Not shown, because their values may be secret: password, mail" in shown
        assert "paid 3" in shown and "pass3" not in shown and "example.com" not in shown
    assert "새로 생김" in card(browser, again, explanation, NAMELESS, "ko")


def test_the_same_failure_was_seen_before_and_is_put_right_by_somebody(
    runner: Runner, browser: httpx.Client, failed: Run, again: Run, repaired: Run
) -> None:
    explanation = runner.client.explanation(again.id)
    shown = card(browser, again, explanation, "division_by_zero")
    assert "Seen once before" in shown
    assert f"by {repaired.commit[:7]} “Take the amounts as they are” (Kim)" in shown
    timeout = card(browser, again, explanation, "statement_timeout")
    assert "it has not passed since" in timeout
    for cause in explanation.causes:
        assert {seen.name for seen in cause.seen} == {cause.nodes[0].name}
    _, cause = cause_of(explanation, "missing_column_too")
    assert [seen.run for seen in cause.seen] == [failed.id], "two causes share the signature"
    assert all(seen.by == "lee" for seen in cause.seen)


def test_the_button_says_that_a_rerun_may_pass(browser: httpx.Client, repaired: Run) -> None:
    assert [node.name for node in repaired.failed] == ["statement_timeout"]
    for language, happened, hint in (
        ("en", CARDS[2][2], CARDS[2][3]),
        ("ko", CARDS[2][4], CARDS[2][5]),
    ):
        text = page(browser, "/", language)
        assert happened in words(text) and "missing_column" not in words(text)
        why = re.search(r'id="why-not">(.*?)</span>', text, re.DOTALL)
        assert why and words(why[1]) == hint
