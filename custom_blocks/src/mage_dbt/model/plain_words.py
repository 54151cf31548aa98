"""A cause of a failure in a sentence for people who do not know dbt, and what to do about it.

One table for all: the page, the tool, alerts and the API. English texts are the keys of the page's
translations (`server/pages/locales/<language>/causes.po`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeGuard

from mage_dbt.model.explanation import Cause
from mage_dbt.model.failure import CACHED_PLAN, CATALOG_INDEX, FailureClass, in_a_hook
from mage_dbt.model.folded import TESTS
from mage_dbt.model.run import (
    CANCELLED,
    CANCELLED_IN_MAGE,
    ENDED_EARLY,
    RUNNER_STOPPED,
    TAKEN_OVER,
)

ADVICE = {
    FailureClass.INFRASTRUCTURE: "The machine, the network or another session: a rerun may pass.",
    FailureClass.CODE: "Somebody has to change it; a rerun on the same version fails again.",
    FailureClass.DATA: "The rows are not as they should be: look at the data, or at what loads it.",
    FailureClass.STOPPED: "Somebody decided this. Ask again if it is needed.",
    FailureClass.UNKNOWN: "Nothing tells what kind of failure it is; the message is below.",
}
"""What to do about a failure of a class, where nothing tells more."""

GRANT = "Somebody has to grant it in the database; then run it again, without a new version."
OWNER = (
    "Somebody has to make dbt’s login their owner, or a member of the role that owns them; then "
    "run it again, without a new version."
)
NOT_TRUSTED = (
    "The connection’s settings have a wrong name or password, or the database is not there any "
    "more; then run it again."
)
ROOM = "A rerun may pass when somebody has made room on the disk of the database."
LIMIT = "A rerun may pass when the database has less to do. If not, somebody has to make it faster."
BUSY = "A rerun may pass when fewer programs use the database."
READ_ONLY = (
    "A rerun may pass when the database takes writes again: it is a standby, or somebody has "
    "closed it for writing."
)
TWICE = "Look at the rows that come twice, at what loads them, or at a join that doubles them."
ASK = "The message was written by whoever wrote the function: it says what to do."
LOADED = "These rows come from outside of dbt: ask who loads them, then run it again."
REFUSED = "The message says why: put that right, then ask for it again."
DONE_BY_A_RERUN = "A rerun does what is left."
ASK_AGAIN = "Ask for the refresh again."
REFRESH = (
    "A refresh builds all its rows anew, with the new columns, beside the table. Until then a "
    "rerun fails again."
)
FILE = (
    "Somebody has to correct the file, or the types of its columns in the project; a rerun on the "
    "same version fails again."
)
BRING_BACK = "Somebody has to correct the name, or to bring back what has it."
BRING_MANY = (
    "Somebody has to load them, or to correct where dbt-metric looks for them: the schema or the "
    "database of its sources."
)


@dataclass(frozen=True)
class PlainWords:
    """What happened and what to do, each a text to translate; `sentence` has `%(name)s` in it."""

    sentence: str
    advice: str = ""
    """Empty for that of the class."""
    by_commit: bool = True
    """Whether only another commit can repair what is code; a grant or a password is none."""


BY_SQLSTATE: Mapping[str, PlainWords] = {
    "08": PlainWords("%(name)s lost its connection to the database."),
    "08001": PlainWords("%(name)s could not connect to the database."),
    "08004": PlainWords("%(name)s could not connect to the database."),
    "0A": PlainWords("%(name)s asks for something that PostgreSQL cannot do."),
    "21": PlainWords("%(name)s got several rows where only one may come.", TWICE),
    "22": PlainWords("%(name)s has a value that does not fit."),
    "22001": PlainWords("%(name)s has a text that is too long for its column."),
    "22003": PlainWords("%(name)s has a number that is too large for its type."),
    "22007": PlainWords("%(name)s has a date or a time that cannot be read."),
    "22008": PlainWords("%(name)s has a date or a time that cannot be read."),
    "2201B": PlainWords("%(name)s has a search pattern that PostgreSQL cannot read."),
    "22012": PlainWords("%(name)s divides by zero."),
    "22P02": PlainWords(
        "%(name)s has a value of another type than is wanted, such as a text for a number."
    ),
    "23": PlainWords("%(name)s has a row that its table does not allow."),
    "23502": PlainWords("%(name)s lacks a value that has to be there."),
    "23503": PlainWords("%(name)s refers to a row that is not there."),
    "23505": PlainWords("Two rows of %(name)s have the same key, which may come only once.", TWICE),
    "25006": PlainWords("The database took no writes when %(name)s ran.", READ_ONLY),
    "25P03": PlainWords("The transaction of %(name)s was open longer than the database allows."),
    "25P04": PlainWords("The transaction of %(name)s was open longer than the database allows."),
    "28": PlainWords("The database refused the login when %(name)s ran.", NOT_TRUSTED, False),
    "2B": PlainWords("Something else depends on what %(name)s wants to drop."),
    "3D": PlainWords("The database that %(name)s wants is not there.", NOT_TRUSTED, False),
    "3F": PlainWords("%(name)s uses a schema that is not there.", BRING_BACK, False),
    "40": PlainWords("Another session was in the way of %(name)s."),
    "40001": PlainWords("Another session changed what %(name)s was reading or writing."),
    "40P01": PlainWords("%(name)s and another session waited for each other (a deadlock)."),
    "42": PlainWords("PostgreSQL refuses the SQL of %(name)s."),
    "42501": PlainWords("%(name)s lacks a right in the database.", GRANT, False),
    "42601": PlainWords("The SQL of %(name)s has a mistake: PostgreSQL cannot read it."),
    "42701": PlainWords("%(name)s has two columns of the same name."),
    "42702": PlainWords("%(name)s names a column that more than one of its tables has."),
    "42703": PlainWords("%(name)s reads a column that is not there."),
    "42803": PlainWords("%(name)s selects a column that it does not group by."),
    "42804": PlainWords("%(name)s puts values of two types together that do not fit."),
    "42883": PlainWords("%(name)s uses a function that is not there, or not for these types."),
    "42P01": PlainWords("%(name)s reads a table that is not there.", BRING_BACK, False),
    "42P07": PlainWords("A table that %(name)s wants to make is there already."),
    "42846": PlainWords("%(name)s puts values of two types together that do not fit."),
    "53": PlainWords("The database ran short of something when %(name)s ran."),
    "53100": PlainWords("The disk of the database was full when %(name)s ran.", ROOM),
    "53200": PlainWords("The database ran out of memory when %(name)s ran."),
    "53300": PlainWords("The database had too many connections when %(name)s ran.", BUSY),
    "54": PlainWords("%(name)s is larger than PostgreSQL allows."),
    "55006": PlainWords("Another session was using what %(name)s wants to change."),
    "55P03": PlainWords("%(name)s waited too long for the lock of another session."),
    "57014": PlainWords("The database stopped %(name)s before it was done."),
    "57P": PlainWords("The database was stopped or restarted when %(name)s ran."),
    "58": PlainWords("The database’s machine failed when %(name)s ran."),
    "F0": PlainWords("The database met an inner error when %(name)s ran."),
    "HV": PlainWords("%(name)s could not read a table of another server."),
    "P0": PlainWords("A function of the database failed when %(name)s ran."),
    "P0001": PlainWords(
        "A function of the database stopped %(name)s with a message of its own.", ASK
    ),
    "XX": PlainWords("The database met an inner error when %(name)s ran."),
}
"""By the beginning of a SQLSTATE (Appendix A of PostgreSQL's manual); the longest that fits."""

OF_MANY: tuple[tuple[str, str, PlainWords], ...] = (
    (
        *("3F000", ""),
        PlainWords("%(num)s schemas that dbt-metric uses are not there.", BRING_MANY, False),
    ),
    (
        *("42P01", ""),
        PlainWords(
            "%(num)s tables that dbt-metric reads are not in the warehouse.", BRING_MANY, False
        ),
    ),
    (
        *("42501", "^must be owner of"),
        PlainWords("Others own %(num)s objects that dbt wants to replace or drop.", OWNER, False),
    ),
    (
        *("42501", "^permission denied for schema "),
        PlainWords("The database does not let dbt use %(num)s schemas.", GRANT, False),
    ),
    (
        *("42501", "^permission denied for sequence "),
        PlainWords("The database does not let dbt use %(num)s sequences.", GRANT, False),
    ),
    (
        *("42501", "^permission denied for (materialized )?view "),
        PlainWords("The database does not let dbt use %(num)s views.", GRANT, False),
    ),
    (
        *("42501", ""),
        PlainWords("The database does not let dbt use %(num)s tables.", GRANT, False),
    ),
)
"""The same of a cause that names many objects, by SQLSTATE, and a pattern that is in the title."""

BY_TITLE: tuple[tuple[str, str, PlainWords], ...] = (
    # The server's words tell these apart where they are English; else the row above stands.
    (
        *("57014", "due to statement timeout"),
        PlainWords("%(name)s ran longer than the allowed time, and was stopped.", LIMIT),
    ),
    (
        *("42P01", "FROM-clause entry"),
        PlainWords("%(name)s names a table or an alias that its query does not have."),
    ),
    ("57014", "due to user request", PlainWords("%(name)s was stopped in the database.")),
    ("0A000", CACHED_PLAN, PlainWords("A table changed while %(name)s was reading it.")),
    # PostgreSQL does not translate the names of its catalogs.
    (
        *("23505", CATALOG_INDEX.pattern),
        PlainWords("%(name)s and another session made the same thing at once."),
    ),
    ("", rf"^{ENDED_EARLY}", PlainWords("The process of the run ended before %(name)s was done.")),
    (
        *("", rf"^{TAKEN_OVER}"),
        PlainWords("Another runner took the run over before %(name)s was done."),
    ),
    ("", rf"^{RUNNER_STOPPED}", PlainWords("The workspace was stopped while %(name)s ran.")),
    ("", rf"^{CANCELLED}", PlainWords("The run was cancelled before %(name)s was done.")),
    # dbt's own words are English always.
    (
        *("", "^This model has an enforced contract that failed"),
        PlainWords("%(name)s has other columns than its contract promises."),
    ),
    # dbt's macro `process_schema_changes`, with `on_schema_change: fail`.
    (
        *("", "^The source and target schemas on this incremental model are out of sync"),
        PlainWords("%(name)s has other columns than its table.", REFRESH),
    ),
    ("", "^'[^']+' is undefined", PlainWords("%(name)s uses a name that dbt does not know.")),
)
"""By SQLSTATE, and a pattern that is in the title."""

STOPPED = re.compile(
    r"(?P<how>Cancelled|Thrown away) by (?P<who>[^\n]+?)(?:[:.] .*)?\.?\Z", re.DOTALL
)
"""The title of a run that a person has ended, and perhaps said why. More sentences may follow."""

IN_A_MACRO = re.compile(r"^\s*> in macro ", re.MULTILINE)
"""In dbt's message on an error that a macro raised, not the model itself."""

TEST = PlainWords("The test %(name)s does not hold.")
TEST_OF = PlainWords("The test %(name)s of %(tested)s does not hold.")
TEST_OF_SOURCE = PlainWords(TEST_OF.sentence, LOADED)
UNIT_TEST = PlainWords("The unit test %(name)s got other rows than it expects.")
UNIT_TEST_OF = PlainWords("The unit test %(name)s of %(tested)s got other rows than it expects.")
SOURCE = PlainWords("The source %(name)s is late.", LOADED)
MACRO = PlainWords("A macro stopped %(name)s with a message of its own.")
COMPILATION = PlainWords("dbt cannot make SQL of %(name)s.")
ACCIDENT = PlainWords("The machine, the network or the database failed %(name)s.")
FAILED = PlainWords("%(name)s failed.")
NOTHING_RAN = PlainWords("Nothing of it could run.")
NO_LOGIN = PlainWords("Nothing of it could run: the database refused the login.", NOT_TRUSTED)
NO_DATABASE = PlainWords("Nothing of it could run: its database is not there.", NOT_TRUSTED)
NO_CONNECTION = PlainWords("Nothing of it could run: the database could not be reached.")
HOOK = PlainWords("A hook of %(name)s failed.")
HOOK_OF_PROJECT = PlainWords("%(name)s failed, a hook of the project.")
SEED = PlainWords("The file of the seed %(name)s has a value that its table does not take.", FILE)
STOPPED_BY = PlainWords("%(who)s stopped it.")
STOPPED_IN_MAGE = PlainWords("Its pipeline run was cancelled in Mage.")
THROWN_AWAY = PlainWords("%(who)s threw the refresh away. Nothing has changed.")
UNDECIDED = PlainWords("Nobody let the refresh swap in time. Nothing has changed.", ASK_AGAIN)
CUT_OFF = PlainWords("The workspace was stopped before it was done.", DONE_BY_A_RERUN)
HANDED_OVER = PlainWords(
    "Its runner was stopped or lost the database, and another runner took the run over.",
    DONE_BY_A_RERUN,
)
NOT_BEGUN = PlainWords("Nothing of it could run.", REFUSED)

OTHERS = (
    *(TEST, TEST_OF, TEST_OF_SOURCE, UNIT_TEST, UNIT_TEST_OF, SOURCE, MACRO, COMPILATION),
    *(ACCIDENT, FAILED, NOTHING_RAN, NO_LOGIN, NO_DATABASE, NO_CONNECTION, NOT_BEGUN),
    *(HOOK, HOOK_OF_PROJECT, SEED),
    *(STOPPED_BY, STOPPED_IN_MAGE, THROWN_AWAY, UNDECIDED, CUT_OFF, HANDED_OVER),
)


def plain_words(cause: Cause) -> PlainWords:
    """What happened, for people, and what to do."""
    if not cause.nodes:
        return _of_a_run(cause)
    if cause.of_many_objects:
        return next(
            words
            for sqlstate, pattern, words in OF_MANY
            if cause.sqlstate == sqlstate and re.search(pattern, cause.title)
        )
    for sqlstate, pattern, found in BY_TITLE:
        if cause.sqlstate == sqlstate and re.search(pattern, cause.title):
            return found
    fits = [start for start in BY_SQLSTATE if cause.sqlstate.startswith(start)]
    words = BY_SQLSTATE[max(fits, key=len)] if fits else None
    if cause.failure_class is FailureClass.CODE:
        first = cause.nodes[0]
        if in_a_hook(first.type, first.message):
            hook = HOOK_OF_PROJECT if first.type == "operation" else HOOK
            # A grant, say, is what a hook lacks too; what is wrong with rows is not.
            return replace(words, sentence=hook.sentence) if _by_others(words) else hook
        if first.type == "seed" and cause.sqlstate.startswith(("21", "22", "23")):
            return SEED
    return words or _without_a_sqlstate(cause)


def waits_for_refresh(cause: Cause) -> bool:
    """Whether it fails again on any commit, until a refresh has built its table anew."""
    return bool(cause.nodes) and plain_words(cause).advice == REFRESH


def _by_others(words: PlainWords | None) -> TypeGuard[PlainWords]:
    return words is not None and not words.by_commit


def names_in(cause: Cause) -> dict[str, str]:
    """The names for the places of the cause's sentence."""
    first = cause.nodes[0] if cause.nodes else None
    if first:
        return {"name": first.name, "tested": first.tested, "num": str(len(cause.objects))}
    stopped = STOPPED.match(cause.title)
    return {"who": stopped["who"]} if stopped else {}


def sentence(cause: Cause) -> str:
    """What happened, in English."""
    return plain_words(cause).sentence % names_in(cause)


def advice(cause: Cause) -> str:
    """What to do, in English."""
    return plain_words(cause).advice or class_advice(cause)


def class_advice(cause: Cause) -> str:
    """What to do about any failure of its class."""
    return ADVICE.get(cause.failure_class, ADVICE[FailureClass.UNKNOWN])


def texts() -> Iterator[str]:
    """Every text of this table, for translators."""
    by_title = (words for _, _, words in (*OF_MANY, *BY_TITLE))
    rows = (*BY_SQLSTATE.values(), *by_title, *OTHERS)
    for words in rows:
        yield words.sentence
        if words.advice:
            yield words.advice
    yield from ADVICE.values()


def _of_a_run(cause: Cause) -> PlainWords:
    if stopped := STOPPED.match(cause.title):
        return STOPPED_BY if stopped["how"] == "Cancelled" else THROWN_AWAY
    if cause.failure_class is FailureClass.STOPPED:
        return STOPPED_IN_MAGE if CANCELLED_IN_MAGE in cause.title else UNDECIDED
    if TAKEN_OVER in cause.title.lower():
        return HANDED_OVER
    if RUNNER_STOPPED in cause.title.lower():
        return CUT_OFF
    if cause.sqlstate.startswith("28"):
        return NO_LOGIN
    if cause.sqlstate.startswith("3D"):
        return NO_DATABASE
    if cause.sqlstate.startswith(("08", "53", "57")):
        return NO_CONNECTION
    return NOT_BEGUN if cause.failure_class is FailureClass.CODE else NOTHING_RAN


def _without_a_sqlstate(cause: Cause) -> PlainWords:
    first = cause.nodes[0]
    if first.type == "source":
        return SOURCE
    if first.type in TESTS and first.status == "fail":
        if first.type == "unit_test":
            return UNIT_TEST_OF if first.tested else UNIT_TEST
        if first.tested_node.startswith("source."):
            return TEST_OF_SOURCE
        return TEST_OF if first.tested else TEST
    if cause.failure_class is FailureClass.INFRASTRUCTURE:
        return ACCIDENT
    if cause.failure_class is FailureClass.CODE:
        return MACRO if IN_A_MACRO.search(first.message) else COMPILATION
    return FAILED
