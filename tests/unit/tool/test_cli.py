"""What the command-line tool says of a command line that it cannot read."""

from __future__ import annotations

import pytest

from mage_dbt.model.request import Operation, Request
from mage_dbt.tool import main
from mage_dbt.tool.command_line import command_line
from mage_dbt.tool.request_verbs import parse_request


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("run --selct fct_orders", "knows no --selct. Did you mean --select?"),
        ("plan --exlude=x", "knows no --exlude. Did you mean --exclude"),
        ("run -s fct_orders", "knows no -s. Did you mean --select?"),
        ("run --vars {a:1}", "--var NAME=VALUE"),
        ("seed --vars {a:1}", "--var NAME=VALUE"),
        ("seed", "mage-dbt run command --command seed"),
        ("run --full-refresh", "mage-dbt run full_refresh"),
        ("rnu", "There is no verb 'rnu'. Did you mean run?"),
        ("run biuld", "There is no operation 'biuld'. Did you mean build?"),
        ("run fct_orders", "--select fct_orders"),
        ("run rerun_failed 20261123-080000-4f2a9c", "Is it for --of?"),
        ("run build fct_orders", "'fct_orders' is a word too many. Is it for --select?"),
        ("swap", "RUN is missing."),
        ("run full_refresh fct_orders", "Is it for --select?"),
        ("cancel a b", "'b' is a word too many."),
        ("status --limit 5", "knows no --limit. It knows --json."),
        ("show", "RUN is missing."),
        ("", "VERB is missing."),
        ("run --select", "--select: expected one argument."),
        ("plan --select=", "--select: it is empty; leave the flag out for everything."),
        ("plan --exclude=", "--exclude: it is empty"),
        ("run --model=", "--model: it is empty; leave the flag out for everything."),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(
    words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    printed = capsys.readouterr().err
    assert ended.value.code == 2
    assert says in printed and "--help" in printed
    assert printed.count("\n") == 1, "one line, and no list of everything there is"


def test_what_only_looks_like_a_flag_is_taken() -> None:
    """The runner is asked, and is not there."""
    for words in (
        ["plan", "--why", "-5 degrees"],
        ["plan", "--why", "- a note"],
        ["plan", "--sel", "fct_orders"],
        ["plan", "--var=a=--b"],
        ["show", "--", "--json"],
    ):
        assert main(words) == 2


def test_a_refresh_its_undo_and_what_they_may_pass_over_are_asked_for() -> None:
    def asked(words: str) -> Request:
        return parse_request(command_line().parse_args(words.split()))

    shown = asked("run full_refresh --model a --show-first --override rows --override key --why x")
    assert shown.operation is Operation.FULL_REFRESH and shown.show_first and not shown.in_place
    assert shown.override == ("rows", "key")
    assert asked("plan full_refresh --select a+ --in-place").in_place
    for words in ("run undo_refresh a b --why x", "plan undo_refresh --why x a --model b"):
        undo = asked(words)
        assert undo.operation is Operation.UNDO_REFRESH and {*undo.models} == {"a", "b"}
    window = "--event-time-start 2026-01-01 --event-time-end 2026-02-01"
    for verb in ("run", "plan"):
        assert asked(f"{verb} --model a {window}").event_time_end == "2026-02-01"
