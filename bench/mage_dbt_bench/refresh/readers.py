"""Readers that poll a table and the views on it while something happens, and judge every answer.

A table has an integer column `version`, the same in all rows, and another number of rows in each
version. So an answer (rows, sum of `version`) shows whether a reader got all rows of one version.
While a refresh is under way, only the old and the new version are allowed; everything else is kept
with its time, its reader and what it was: an error, or a wrong answer.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

Connection = psycopg.Connection[tuple[Any, ...]]

PROBE_PAUSE = 0.005
"""Seconds between two questions that cost next to nothing: their longest is a wait for a lock."""

DUMP_PAUSE = 1.0
"""Seconds between two dumps. Each holds a lock on every table while it lasts."""

LONGEST_OPEN = 1.0
"""Seconds that a transaction waits between its snapshot and its first look at a table, at most."""

STOP_SECONDS = 120.0
"""A reader that has not ended so long after it was asked to is one that hangs."""

CURSOR_PARTS = 20


@dataclass(frozen=True)
class State:
    """All the rows of one version."""

    rows: int
    total: int
    """The sum of the column `version`."""

    @classmethod
    def of(cls, rows: int, version: int) -> State:
        return cls(rows, rows * version)

    @property
    def version(self) -> int | None:
        return self.total // self.rows if self.rows else None

    def __str__(self) -> str:
        return f"{self.rows} rows of version {self.version}"


@dataclass(frozen=True)
class Relation:
    """A table or view that is read."""

    schema: str
    name: str

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Watched:
    """What is read, and as whom."""

    table: Relation
    views: tuple[Relation, ...]
    """The first reads the table, each other the one before it."""
    owner: str
    """The database's URL, for the role that may read all of it."""
    guest: str = ""
    """The same for a role that may read the views alone; empty for none."""
    pg_dump: Path | None = None
    """The program; None for no dumps."""
    dumped: bool = True
    """Whether a dump has the table's rows: not when it is a view itself."""


class What(StrEnum):
    """What was wrong with an answer."""

    ERROR = "error"
    WRONG = "wrong"
    """Neither all of the old rows nor all of the new ones."""
    HANGS = "hangs"


@dataclass(frozen=True)
class Trouble:
    """An answer that no reader may get."""

    at: datetime
    reader: str
    what: What
    text: str

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S.%f} {self.reader}: {self.what}: {self.text}"


@dataclass
class Counts:
    """What one reader has seen."""

    reads: int = 0
    errors: int = 0
    wrong: int = 0
    longest: float = 0.0
    """Seconds that its slowest statement, or dump, took."""


class Truth:
    """Which states are allowed, and since when."""

    def __init__(self, *states: State) -> None:
        self._guard = threading.Lock()
        self._since = [(0.0, frozenset(states))]

    def allow(self, *states: State) -> None:
        """From now on these alone."""
        with self._guard:
            self._since.append((time.monotonic(), frozenset(states)))

    def between(self, began: float, ended: float) -> frozenset[State]:
        """What was allowed at any time in between; moments of `time.monotonic()`."""
        with self._guard:
            ends = [at for at, _ in self._since[1:]] + [float("inf")]
            spans = zip(self._since, ends, strict=True)
            found = [states for (at, states), end in spans if at <= ended and end >= began]
        return frozenset().union(*found)


@dataclass(frozen=True)
class Seen:
    """One answer: a state, or only the version of a row."""

    state: State | None = None
    version: int | None = None

    def fits(self, allowed: frozenset[State]) -> bool:
        if self.state is not None:
            return self.state in allowed
        return self.version in {state.version for state in allowed}

    def __str__(self) -> str:
        return str(self.state) if self.state is not None else f"a row of version {self.version}"


class Reader:
    """One way to read, again and again in a thread of its own. A subclass has `read`."""

    def __init__(self, name: str, url: str, pause: float) -> None:
        self.name = name
        self.counts = Counts()
        self.troubles: list[Trouble] = []
        self.over = threading.Event()
        self._url = url
        self._pause = pause
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._truth = Truth()

    def start(self, truth: Truth) -> None:
        self._truth = truth
        self._thread.start()

    def ask_to_stop(self) -> None:
        self.over.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._trouble(What.HANGS, f"no answer for {seconds:.0f} s")

    def prepare(self, connection: Connection) -> None:
        """What a new connection needs before it reads."""

    def read(self, connection: Connection) -> Iterator[Seen]:
        """Reads once."""
        raise NotImplementedError

    def statement(self, connection: Connection, text: sql.Composed | sql.SQL) -> list[Any]:
        """The rows; how long it takes counts as a reader's wait."""
        began = time.monotonic()
        try:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []
        finally:
            self.counts.longest = max(self.counts.longest, time.monotonic() - began)

    def _run(self) -> None:
        while not self.over.is_set():
            self.once()
            self.over.wait(self._pause)
        self._close()

    def once(self) -> None:
        """Reads once, and judges the answers by what was allowed meanwhile."""
        began = time.monotonic()
        try:
            connection = self._connection or self._open()
            for seen in self.read(connection):
                self._judge(seen, began)
        except Exception as error:  # whatever it is, a reader had it instead of an answer
            self.counts.reads += 1
            self._trouble(What.ERROR, f"{type(error).__name__}: {str(error).strip()}")
            self._recover()

    def _open(self) -> Connection:
        connection = psycopg.connect(self._url, autocommit=True, application_name="reader")
        try:
            self.prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _judge(self, seen: Seen, began: float) -> None:
        self.counts.reads += 1
        allowed = self._truth.between(began, time.monotonic())
        if not seen.fits(allowed):
            wanted = " or ".join(sorted(map(str, allowed)))
            self._trouble(What.WRONG, f"{seen} instead of {wanted}")

    def _trouble(self, what: What, text: str) -> None:
        if what is What.WRONG:
            self.counts.wrong += 1
        else:
            self.counts.errors += 1
        self.troubles.append(Trouble(datetime.now(UTC), self.name, what, text))

    def _recover(self) -> None:
        """A session that still works goes on, as those of people do."""
        connection = self._connection
        if connection is None:
            return
        with suppress(psycopg.Error):
            if connection.info.transaction_status is not TransactionStatus.IDLE:
                # Only then: psycopg drops what a session has prepared with each rollback.
                connection.execute("rollback")
            if not connection.closed:
                return
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Whole(Reader):
    """Counts a relation; each statement is a transaction."""

    def __init__(self, name: str, url: str, pause: float, relation: Relation) -> None:
        super().__init__(f"{name}, {relation}", url, pause)
        self.relation = relation

    def read(self, connection: Connection) -> Iterator[Seen]:
        yield self.whole(connection)

    def whole(self, connection: Connection) -> Seen:
        return _state(self.statement(connection, _whole(self.relation)))


class Probe(Whole):
    """Reads one row without a pause: its longest statement is how long a reader was locked out."""

    def read(self, connection: Connection) -> Iterator[Seen]:
        query = sql.SQL("select version from {} limit 1").format(self.relation.identifier)
        rows = self.statement(connection, query)
        yield Seen(version=rows[0][0] if rows else None)


class Prepared(Whole):
    """A statement prepared on the server once, with named columns, and executed ever after."""

    def prepare(self, connection: Connection) -> None:
        prepare = sql.SQL("prepare {} as {}")
        three = sql.SQL("select id, version from {} where id <= 3")
        identifier = self.relation.identifier
        for name, query in (("whole", _whole(self.relation)), ("three", three.format(identifier))):
            connection.execute(prepare.format(sql.Identifier(name), query))

    def whole(self, connection: Connection) -> Seen:
        return _state(self.statement(connection, sql.SQL("execute whole")))

    def read(self, connection: Connection) -> Iterator[Seen]:
        yield self.whole(connection)
        rows = self.statement(connection, sql.SQL("execute three"))
        versions = {version for _, version in rows}
        yield Seen(version=versions.pop() if len(rows) == 3 and len(versions) == 1 else None)


class Repeatable(Whole):
    """A REPEATABLE READ transaction that waits between its snapshot and its look at the table."""

    def read(self, connection: Connection) -> Iterator[Seen]:
        _snapshot(connection)
        self.over.wait(random.uniform(0, LONGEST_OPEN))
        yield self.whole(connection)
        connection.execute("commit")


class OldSnapshot(Whole):
    """A REPEATABLE READ transaction opened before a refresh, that looks at the table late."""

    def __init__(self, name: str, url: str, seconds: float, relation: Relation) -> None:
        super().__init__(name, url, 0.0, relation)
        self._seconds = seconds
        self._opened = threading.Event()

    def start(self, truth: Truth) -> None:
        """Returns when the snapshot is taken."""
        super().start(truth)
        self._opened.wait(STOP_SECONDS)

    def _run(self) -> None:
        self.once()
        self._opened.set()  # also when it could not be opened
        self._close()

    def read(self, connection: Connection) -> Iterator[Seen]:
        _snapshot(connection)
        self._opened.set()
        self.over.wait(self._seconds)
        yield self.whole(connection)
        connection.execute("commit")


class Cursor(Whole):
    """A cursor that is fetched slowly: `with hold` after its transaction, or inside of it."""

    def __init__(self, url: str, pause: float, relation: Relation, hold: bool) -> None:
        name = "cursor with hold" if hold else "cursor in a transaction"
        super().__init__(name, url, pause, relation)
        self._hold = hold

    def read(self, connection: Connection) -> Iterator[Seen]:
        declare = sql.SQL(
            "declare parts cursor {hold} for select id % {parts}, count(*), sum(version)"
            " from {relation} group by 1"
        ).format(
            hold=sql.SQL("with hold" if self._hold else "without hold"),
            parts=sql.Literal(CURSOR_PARTS),
            relation=self.relation.identifier,
        )
        connection.execute("begin")
        self.statement(connection, declare)
        if self._hold:
            self.statement(connection, sql.SQL("commit"))
        rows, total = 0, 0
        while part := self.statement(connection, sql.SQL("fetch forward 1 from parts")):
            rows, total = rows + part[0][1], total + int(part[0][2])
            self.over.wait(LONGEST_OPEN / CURSOR_PARTS)
        connection.execute("close parts" if self._hold else "commit")
        yield Seen(State(rows, total))

    def _recover(self) -> None:
        self._close()  # with the cursor, whose name is to be free


class Dump(Reader):
    """`pg_dump` of the whole database, whose data must hold all rows of one version.

    Former versions that are kept are dumped without their rows, to be quick; their tables are
    locked all the same.
    """

    def __init__(self, watched: Watched, pause: float = DUMP_PAUSE) -> None:
        assert watched.pg_dump is not None
        super().__init__(f"pg_dump, {watched.table}", watched.owner, pause)
        self._program = watched.pg_dump
        self._table = watched.table
        self._dumped = watched.dumped

    def once(self) -> None:
        began = time.monotonic()
        arguments = ["--quote-all-identifiers", "--exclude-table-data=mage_dbt_*.*"]
        try:
            with _dumping(self._program, self._url, *arguments) as output:
                state = _copied(output, self._table)
            if self._dumped:
                self._judge(Seen(state), began)
            else:
                self.counts.reads += 1
        except Exception as error:
            self.counts.reads += 1
            self._trouble(What.ERROR, str(error).strip())
        finally:
            self.counts.longest = max(self.counts.longest, time.monotonic() - began)


@dataclass
class Readers:
    """All of them. `with Readers(…) as readers:` they read until the block ends."""

    watched: Watched
    now: State
    pause: float = 0.05
    """Seconds between two reads of one reader."""
    snapshot_seconds: float = 2.0
    """How long a transaction that is older than a refresh stays open; a refresh waits for it."""
    old_snapshots: bool = True
    """Whether there are such transactions, dumps and cursors: what a refresh has to wait for."""
    all: list[Reader] = field(default_factory=list)

    def __enter__(self) -> Readers:
        self._truth = Truth(self.now)
        self._start(*self._pollers())
        return self

    def __exit__(self, *error: object) -> None:
        for reader in self.all:
            reader.ask_to_stop()
        for reader in self.all:
            reader.join(STOP_SECONDS)

    @contextmanager
    def during(self, new: State) -> Iterator[None]:
        """While the block lasts, the table may become this state; afterwards it is one of both.

        Transactions are opened before, and look at the relations when the block has ended or after
        `snapshot_seconds`.
        """
        old = self.now
        self._truth.allow(old, new)
        opened = [self._old_snapshot(relation) for relation in self._ends] * self.old_snapshots
        self._start(*opened)
        try:
            yield
        finally:
            for reader in opened:
                reader.ask_to_stop()
            for reader in opened:
                reader.join(STOP_SECONDS)
            with suppress(psycopg.Error):  # the table is not there: the readers say so
                self.now = look(self.watched)
            if self.now in (old, new):
                self._truth.allow(self.now)

    @property
    def polling(self) -> list[Reader]:
        """Those that read again and again."""
        return [reader for reader in self.all if not isinstance(reader, OldSnapshot)]

    @property
    def troubles(self) -> list[Trouble]:
        """All of them, in their order."""
        found = [trouble for reader in self.all for trouble in reader.troubles]
        return sorted(found, key=lambda trouble: trouble.at)

    @property
    def reads(self) -> int:
        return sum(reader.counts.reads for reader in self.all)

    @property
    def errors(self) -> int:
        return sum(reader.counts.errors for reader in self.all)

    @property
    def wrong(self) -> int:
        return sum(reader.counts.wrong for reader in self.all)

    @property
    def longest_wait(self) -> float:
        """Of the probes: others spend their time counting rows."""
        waits = [reader.counts.longest for reader in self.all if isinstance(reader, Probe)]
        return max(waits, default=0.0)

    def counts(self) -> Mapping[str, Counts]:
        """By the reader's name."""
        found: dict[str, Counts] = {}
        for reader in self.all:
            so_far, counts = found.setdefault(reader.name, Counts()), reader.counts
            so_far.reads += counts.reads
            so_far.errors += counts.errors
            so_far.wrong += counts.wrong
            so_far.longest = max(so_far.longest, counts.longest)
        return found

    def summary(self, most: int = 10) -> str:
        """What was wrong, for a test's message: the first troubles, and how many there are."""
        troubles = self.troubles
        lines = [str(trouble) for trouble in troubles[:most]]
        return "\n".join([f"{len(troubles)} of {self.reads} reads went wrong", *lines])

    def _start(self, *readers: Reader) -> None:
        self.all += readers
        for reader in readers:
            reader.start(self._truth)

    @property
    def _ends(self) -> Sequence[Relation]:
        """The table, and the view that is the farthest from it."""
        return (self.watched.table, *self.watched.views[-1:])

    def _pollers(self) -> list[Reader]:
        watched, pause = self.watched, self.pause
        owner, guest = watched.owner, watched.guest
        found = self._at_the_ends(Probe, "probe", PROBE_PAUSE)
        found += (
            Whole("autocommit", owner, pause, relation)
            for relation in (watched.table, *watched.views)
        )
        found += self._at_the_ends(Prepared, "prepared", pause)
        if guest:
            views = dict.fromkeys((*watched.views[:1], *watched.views[-1:]))
            found += (Whole("another role", guest, pause, view) for view in views)
        if self.old_snapshots:
            found += self._at_the_ends(Repeatable, "repeatable read", pause)
            found += (
                Cursor(owner, pause, relation, hold)
                for relation in self._ends
                for hold in (True, False)
            )
            if watched.pg_dump is not None:
                found.append(Dump(watched))
        return found

    def _at_the_ends(self, kind: type[Whole], name: str, pause: float) -> list[Reader]:
        return [kind(name, self.watched.owner, pause, relation) for relation in self._ends]

    def _old_snapshot(self, relation: Relation) -> Reader:
        name = "repeatable read from before"
        return OldSnapshot(name, self.watched.owner, self.snapshot_seconds, relation)


def look(watched: Watched) -> State:
    """What the table holds now."""
    with psycopg.connect(watched.owner) as connection:
        state = _state(connection.execute(_whole(watched.table)).fetchall()).state
    assert state is not None
    return state


def schema_dump(program: Path, url: str) -> str:
    """`pg_dump --schema-only` of the database, without the schemas in which a refresh builds and
    keeps."""
    arguments = ["--schema-only", "--exclude-schema=mage_dbt_*", "--restrict-key=none"]
    with _dumping(program, url, *arguments) as output:
        return output.read().decode()


@contextmanager
def _dumping(program: Path, url: str, *arguments: str) -> Iterator[IO[bytes]]:
    """pg_dump's output. Raises RuntimeError with what it says when it fails."""
    given = psycopg.conninfo.conninfo_to_dict(url)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    environment = {names[name]: str(value) for name, value in given.items() if name in names}
    with subprocess.Popen(
        [str(program), f"--dbname={given['dbname']}", *arguments],
        env={"PATH": os.environ.get("PATH", os.defpath), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        yield process.stdout
        process.stdout.read()
        message = process.stderr.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"pg_dump exited with {process.returncode}: {message[-500:].strip()}")


def _copied(output: IO[bytes], table: Relation) -> State:
    """The state of the table's rows in a dump with quoted names; of no rows when it has none."""
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (table.schema, table.name))
    begin = f"COPY {quoted} (".encode()
    rows = total = 0
    column: int | None = None
    for line in output:
        if column is None:
            if line.startswith(begin):
                names = line[len(begin) :].partition(b")")[0].decode().split(", ")
                column = names.index('"version"')
        elif line == b"\\.\n":
            break
        else:
            rows, total = rows + 1, total + int(line.rstrip(b"\n").split(b"\t")[column])
    return State(rows, total)


def _snapshot(connection: Connection) -> None:
    """Begins a transaction that sees this moment to its end."""
    connection.execute("begin isolation level repeatable read")
    connection.execute("select pg_current_snapshot()")


def _whole(relation: Relation) -> sql.Composed:
    query = sql.SQL("select count(*) as number, coalesce(sum(version), 0) as total from {}")
    return query.format(relation.identifier)


def _state(rows: Sequence[Any]) -> Seen:
    [(number, total)] = rows
    return Seen(State(number, int(total)))
