"""What kind of failure a node's error is, and which errors are the same.

The class tells what may help: another try, a change of code, or a look at the data. PostgreSQL's
SQLSTATE decides, so no class depends on the server's language. Where none was given, dbt's own
heading does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from mage_dbt.model import codec
from mage_dbt.model.reason import HEADING, HOOK_OF, words_first
from mage_dbt.model.run import (
    CANCELLED,
    CANCELLED_IN_MAGE,
    ENDED_EARLY,
    RUNNER_STOPPED,
    NodeResult,
)


class FailureClass(StrEnum):
    """What may help."""

    INFRASTRUCTURE = "infrastructure"
    """The machine, the network or another session: a rerun may pass."""
    CODE = "code"
    """The SQL, the Jinja, a unit test or the configuration: somebody has to change it."""
    DATA = "data"
    """The rows: a value that does not fit, or a data test that does not hold."""
    UNKNOWN = "unknown"
    """Nothing tells."""
    STOPPED = "stopped"
    """Somebody stopped it, or decided against it: nothing is wrong with what ran."""


@dataclass(frozen=True)
class Failure:
    """The kind of one node's failure."""

    __pydantic_config__ = codec.DESCRIBED

    failure_class: Annotated[FailureClass, codec.AnyWord(FailureClass)]
    sqlstate: str
    """PostgreSQL's five characters, such as 42703; empty where none was given."""
    title: str
    """The message in one line, without dbt's heading and without the node's name."""
    signature: str
    """The same for the same cause: a hash (hex) of class, SQLSTATE and the message without its
    literals, names and numbers."""


CONNECTION_LOST = "08006"
"""PostgreSQL's SQLSTATE `connection_failure`, for an error of libpq's, which has none."""

NOT_CONNECTED = "08001"
"""`sqlclient_unable_to_establish_sqlconnection`, likewise."""

REFUSALS = (
    ("28P01", "password authentication failed|no password supplied"),
    ("28000", 'no pg_hba.conf entry|role "[^"]*" (does not exist|is not permitted to log in)'),
    ("3D000", 'database "[^"]*" does not exist'),
    ("53300", "too many clients|remaining connection slots|too many connections for"),
    ("57P03", "database system is (starting up|shutting down|in recovery mode)"),
)
"""The server's words to who may not connect, with their SQLSTATEs, which libpq does not hand on."""

BY_SQLSTATE = {
    FailureClass.INFRASTRUCTURE: (
        *("08", "40", "53", "57", "58"),  # connection, rolled back, resources, operator, system
        *("25P03", "25P04"),  # a transaction that lasted too long
        "25006",  # a standby, or a database that takes no writes now
        *("55P03", "55006"),  # a lock that another session holds, an object in use
        *("F0", "XX"),  # the server's own files, its inner errors
    ),
    FailureClass.DATA: (
        *("21", "22", "23", "27", "44"),  # cardinality, values, constraints, views' check options
        *("P0002", "P0003", "P0004"),  # no row, too many rows, a failed assertion
    ),
    FailureClass.CODE: (
        *("03", "0A", "0L", "0P", "0Z", "20", "24", "25", "26", "28", "2B", "2D", "2F"),
        "2201B",  # a regular expression, which stands in the SQL
        *("34", "38", "39", "3B", "3D", "3F", "42", "54", "55"),
    ),
}
"""Beginnings of SQLSTATEs (Appendix A of PostgreSQL's manual); the longest that fits decides.

XX is an internal error of the server's: two sessions that changed one row of a catalog, a file that
the system refused to write, a damaged page. Code is the last place to look for any of them.
"""

BY_HEADING = {
    "Compilation": FailureClass.CODE,
    "Parsing": FailureClass.CODE,
    "Breaking change to contract": FailureClass.CODE,
}
"""dbt's own words before `Error`. `Database` without a SQLSTATE comes of another engine, and
`Runtime` of anything."""

OF_THE_WORKSPACE = (ENDED_EARLY, RUNNER_STOPPED, CANCELLED)
"""How the reason of a node begins that was cut off."""

BY_SOMEBODY = (f"{CANCELLED} by ", f"{CANCELLED}: {CANCELLED_IN_MAGE}")
"""How it begins where a person did it."""

LOST = ("08", "57P")
"""Beginnings of SQLSTATEs that sessions get when their server goes, each another one of them."""

COUNTED = re.compile(r"Got (?P<rows>\d+) results?, configured to (?:fail|warn) if (?P<limit>.+)")
"""dbt's message on a data test, from `TestRunner.build_test_run_result`."""

CATALOG_INDEX = re.compile(r"\bpg_\w+_index\b")
"""A unique index of a catalog of PostgreSQL's: two sessions wanted to make the same thing."""

CACHED_PLAN = "cached plan must not change"
"""PostgreSQL's words, under 0A000, when a table changed while a prepared statement was in use.
Where its language is another the class is that of 0A000: code."""

ANY_ROW = "!= 0"
"""dbt's default of `error_if` and `warn_if`."""

BEGINNING = re.compile(
    r"(?:ERROR|FATAL|PANIC):\s+"
    r"|batch \d{4}\S*(?: \d\d:\S+)?: "  # from `Batches.ends`
    r"|(?:Model|Seed|Snapshot|Test|Macro) '[^']+'(?: \([^)]*\))? "
)
"""What stands before the words that tell something."""

DETAIL = re.compile(r"\A.*\n\w+:  (.*)")
"""The server's second line, whose first word is in libpq's language."""

LONGEST_TITLE = 300
"""Characters."""

QUOTED = re.compile(
    "'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`|«[^»\n]*»|»[^«\n]*«|[“„][^”“\n]*[”“]|「[^」\n]*」"
)
"""A literal or a name, in the quotes of any language."""

CALLED = re.compile(r"[\w.$]+\([^()]*\)")
"""A function with its arguments: PostgreSQL quotes neither."""

QUALIFIED = re.compile(r"\b[^\W\d]\w*(?:\.[^\W\d][\w$]*)+\b")
"""`orders.discount_codes`, which PostgreSQL does not quote."""

NUMBER = re.compile(
    r"\b(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"  # a UUID
    r"|0x[0-9a-f]+|[0-9a-f]*\d[0-9a-f]{7,}"
    r"|\d[\d:.,TZ+-]*)(?![^\W_])",  # a number, a date, a time
    re.IGNORECASE,
)

UNDEFINED_COLUMN = "42703"

MISSING = {"42P01": "relation", "3F000": "schema"}
"""SQLSTATEs of a table or a schema that is not there, with PostgreSQL's word for it."""

MISSES = re.compile(r'^(?P<kind>relation|schema) "(?P<name>[^"\n]+)" does not exist')

OF_ALIAS = "FROM"
"""In messages under 42P01 on an alias that a query does not have, in every language."""

FORBIDDEN_IN_SQL = "42501"

FORBIDDEN = re.compile(
    r"^(?P<how>permission denied for|must be owner of) "
    r"(?P<kind>(?:materialized |foreign )?table|(?:materialized )?view|relation|schema|sequence"
    r"|function|procedure|routine|aggregate|database|language|type|domain|tablespace|index"
    r"|foreign server|foreign-data wrapper|extension|large object|collation|operator|statistics"
    r" object|event trigger|publication|subscription) (?P<name>.+)$"
)
"""PostgreSQL's words under 42501; it quotes no name there."""

HOLDS_ROWS = (
    *("table", "foreign table", "view", "materialized view", "relation"),
    *("schema", "sequence"),
)
"""What of these a missing right keeps many models from at once."""

MANY = 3
"""So many objects that are missing, or forbidden, in one run are one cause."""


def sqlstate_of_refusal(message: str) -> str:
    """The SQLSTATE of a connection that failed: the server's own where its words are English."""
    found = (state for state, words in REFUSALS if re.search(words, message))
    return next(found, NOT_CONNECTED)


def failure_of(result: NodeResult, test: str = "") -> Failure:
    """The kind of a failed node's failure.

    `test` is the generic test of which a failed test is one, where that is known. The signature of
    a result that the ledger has kept is the one that it was kept with.
    """
    found = _class(result)
    kind = f"{found} {result.sqlstate} {_kind(result, test)}"
    return Failure(found, result.sqlstate, _title(result), result.signature or _digest(kind))


def cause_key(result: NodeResult) -> str:
    """The same for nodes of one run that failed of one cause.

    That is of code and data the same message about the same object: two models that miss one
    column. A message that names nothing, as `division by zero`, is each node's own. Of
    infrastructure the kind alone counts, and a server that goes is one cause, whatever each session
    was told.
    """
    failure = failure_of(result)
    if failure.failure_class is FailureClass.INFRASTRUCTURE:
        lost = result.sqlstate.startswith(LOST)
        return f"{failure.failure_class} {'connection' if lost else failure.signature}"
    words = _words(result)
    if result.type in ("test", "unit_test") and result.status == "fail":
        return f"{failure.signature} {result.node}"
    if _without_names(words) == words:
        return f"{failure.signature} {result.node}"
    if result.sqlstate == UNDEFINED_COLUMN:  # under whatever alias each has read the table
        words = QUALIFIED.sub(lambda found: found[0].rpartition(".")[2], words)
        words = QUOTED.sub(lambda found: found[0][1:-1], words)
    return f"{failure.signature} {_digest(words)}"


def objects_key(result: NodeResult) -> str:
    """The same for nodes whose failures are one cause when they name MANY objects or more.

    Empty where each object is a cause of its own: a misspelt column is corrected one by one, while
    tables that are not loaded, or may not be read, are put right together.
    """
    kind, _ = _object(result)
    return f"objects {result.sqlstate} {kind}" if kind else ""


def object_of(result: NodeResult) -> str:
    """The table or schema that is missing, or forbidden; empty where the message does not tell."""
    _, name = _object(result)
    return name


def _object(result: NodeResult) -> tuple[str, str]:
    """The kind and the name of what is missing or forbidden; two empty texts for anything else."""
    if in_a_hook(result.type, result.message):
        return "", ""
    words = _words(result)
    if result.sqlstate == FORBIDDEN_IN_SQL:
        found = FORBIDDEN.match(words)
        if found and found["kind"] in HOLDS_ROWS:
            return f"{found['how']} {found['kind']}", found["name"]
        return "", ""
    kind = MISSING.get(result.sqlstate, "")
    if not kind:
        return "", ""
    if found := MISSES.match(words):
        return (kind, found["name"]) if found["kind"] == kind else ("", "")
    # In another language the words do not tell; a message that names one thing names this.
    quoted = QUOTED.findall(words)
    if len(quoted) != 1 or OF_ALIAS in QUOTED.sub("?", words):
        return "", ""
    return kind, quoted[0][1:-1]


def in_a_hook(type: str, message: str) -> bool:
    """Whether a hook met the error: one of the project's own, or one of the node."""
    return type == "operation" or f"\n{HOOK_OF}" in message


def _class(result: NodeResult) -> FailureClass:
    if result.status == "fail":
        # The rows of a unit test stand in the YAML, beside what it expects.
        return FailureClass.CODE if result.type == "unit_test" else FailureClass.DATA
    if result.sqlstate == "23505" and CATALOG_INDEX.search(_words(result)):
        return FailureClass.INFRASTRUCTURE
    if result.sqlstate == "0A000" and CACHED_PLAN in result.message:
        return FailureClass.INFRASTRUCTURE
    if result.sqlstate:
        found = _class_of_sqlstate(result.sqlstate)
        rows = found is FailureClass.DATA
        if in_a_hook(result.type, result.message):  # its SQL and its values stand in the project
            return FailureClass.CODE if rows or found is FailureClass.UNKNOWN else found
        # The file of a seed stands in git.
        return FailureClass.CODE if rows and result.type == "seed" else found
    if result.type == "source" and not result.message:
        return FailureClass.DATA  # dbt's freshness: the newest row is too old
    if result.message.startswith(BY_SOMEBODY):
        return FailureClass.STOPPED
    if result.message.startswith(OF_THE_WORKSPACE):
        return FailureClass.INFRASTRUCTURE
    headings = [*_headings(result.message)]
    if "Database" not in headings:
        for heading in headings:
            if heading in BY_HEADING:
                return BY_HEADING[heading]
    return FailureClass.UNKNOWN


def _class_of_sqlstate(sqlstate: str) -> FailureClass:
    fits = [
        (len(beginning), found)
        for found, beginnings in BY_SQLSTATE.items()
        for beginning in beginnings
        if sqlstate.startswith(beginning)
    ]
    return max(fits)[1] if fits else FailureClass.UNKNOWN


def _headings(message: str) -> Iterator[str]:
    """dbt's words before `Error` in each of its headings, without where it happened."""
    for line in message.splitlines():
        if HEADING.fullmatch(line.strip()):
            yield line.strip().split(" Error", 1)[0]


def _words(result: NodeResult) -> str:
    """The line of the message that says most, as it is."""
    lines = [line.strip() for line in words_first(result.message).splitlines()]
    lines = [line for line in lines if line]
    # A unit test quotes the error that its statement met, with its heading, below its own words.
    nested = [at for at, line in enumerate(lines[:-1]) if line == "Database Error"]
    line = lines[nested[-1] + 1] if nested else "".join(lines[:1])
    while found := BEGINNING.match(line):
        line = line[found.end() :]
    return line.removeprefix(f"{result.name}: ")


def _title(result: NodeResult) -> str:
    words = _words(result)
    if counted := COUNTED.fullmatch(words):
        rows = f"{counted['rows']} row{'' if counted['rows'] == '1' else 's'}"
        limit = "" if counted["limit"] == ANY_ROW else f", and fails if {counted['limit']}"
        return f"the test found {rows}{limit}"
    if not words and result.type == "source":
        return "the newest row is too old"
    if result.message.startswith(ENDED_EARLY):
        words = result.message.splitlines()[0]
    if result.sqlstate.startswith("23") and (detail := DETAIL.search(result.message)):
        words = f"{words}: {detail[1]}"  # an index of dbt's has no name that tells anything
    return words[:LONGEST_TITLE] or f"dbt says {result.status}, and not why"


def _kind(result: NodeResult, test: str) -> str:
    """The message without what differs between two failures of one kind."""
    if result.status == "fail":
        return test or result.name if result.type == "test" else result.type
    for beginning in OF_THE_WORKSPACE:
        if result.message.startswith(beginning):
            return beginning
    return NUMBER.sub("#", _own(_without_names(_words(result)), result.name))


def _without_names(words: str) -> str:
    words = FORBIDDEN.sub(r"\g<how> \g<kind> ?", words)
    for pattern in (QUOTED, CALLED, QUALIFIED):
        words = pattern.sub("?", words)
    return words


def _own(words: str, name: str) -> str:
    """The words without the node's own name, and that of the table that dbt fills first."""
    return re.sub(rf"\b{re.escape(name)}(?:__dbt_\w+)?\b", "?", words) if name else words


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
