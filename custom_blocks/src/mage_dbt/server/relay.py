"""The people's way to Mage: takes what the proxy lets in, and hands it to Mage without its secrets.

Code in a notebook can see what Mage's process sees. So neither the proxy's secret nor a session's
cookie goes there: whoever had an operator's could be that operator at the runner. Mage is told a
name and a role, beside a secret that opens nothing but Mage.

One request a connection, each asked for anew. h11 reads and writes the HTTP of both ends, so what
Mage gets is one request, spelled in one way; a web socket goes through unread. What
stays open for long, a web socket, is closed when its person has lost the role, or when nothing of
that person has come through the proxy for RIGHTS_SECONDS: the page then opens it again, and the
proxy asks the identity provider.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import h11

from mage_dbt.errors import Forbidden, Malformed, Unauthorized, Unavailable, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.identity.groups import Groups
from mage_dbt.identity.origin import refuse_other_page
from mage_dbt.identity.person import EMAIL, Person, Values
from mage_dbt.identity.role import Role
from mage_dbt.mage.gateway.headers import PERSON, ROLE, SECRET
from mage_dbt.mage.gateway.rules import is_page
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

LARGEST_HEAD = 65_536
"""Bytes of a request's head; Mage itself takes as many."""

HEAD_SECONDS = 30.0
REFUSAL_SECONDS = 5.0
RIGHTS_SECONDS = 300.0
POLL_SECONDS = 1.0
CHUNK = 65_536

END_OF_HEAD = b"\r\n\r\n"
BARE_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n")
FIRST_LINE = re.compile(rb"[A-Z]{1,20} /")

NOT_FOR_MAGE = re.compile(
    rb"(cookie|authorization|connection|keep-alive|proxy-.*|x-forwarded-.*|x-workspace-.*)", re.I
)
"""With every `_` read as `-`: servers behind us may take one for the other."""


OF_ONE_HOP = (b"connection", b"keep-alive")


class MageRelay:
    """Listens in a thread of its own; `start`, and `stop` at the end."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._groups = Groups.of(settings)
        self._seen: dict[str, tuple[Role, float]] = {}
        self._loop = asyncio.new_event_loop()

    def start(self, listener: socket.socket) -> None:
        """Answers on `listener` from now on."""
        listener.listen(128)  # before the thread does: a connection may come at once
        threading.Thread(target=self._run, args=(listener,), name="relay", daemon=True).start()

    def stop(self) -> None:
        """Closes every connection."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, listener: socket.socket) -> None:
        asyncio.set_event_loop(self._loop)
        listen = asyncio.start_unix_server(self._serve, sock=listener, limit=LARGEST_HEAD)
        self._loop.run_until_complete(listen)
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(END_OF_HEAD), HEAD_SECONDS)
            http, asked = read_head(head)
            person = self._let_in(asked)
            await self._hand_over(person, asked, _End(http, reader, writer))
        except WorkspaceError as error:
            await _refuse(error, reader, writer)
        except asyncio.LimitOverrunError:
            await _refuse(Malformed("The request's head is too large."), reader, writer)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, h11.ProtocolError):
            pass  # nobody is there to be told
        finally:
            await _close(writer)

    def _let_in(self, asked: h11.Request) -> Person:
        """Who the request is from. Raises a WorkspaceError."""
        values = _values_of(asked)
        secret = self._home.proxy_people_secret.read_text().strip()
        try:
            person = Person.read(values, secret, self._groups)
        except Forbidden:
            for name in values(EMAIL):
                self._seen.pop(name.strip().lower(), None)
            raise
        settings = self._settings
        method, target = asked.method.decode(), asked.target.decode()
        page = is_page(target.partition("?")[0])
        refuse_other_page(values, method, settings.public_host, settings.public_origin, page)
        self._seen[person.name] = (person.role, monotonic())
        return person

    def _for_mage(self, asked: h11.Request, person: Person, upgrade: bool) -> h11.Request:
        """The request as Mage gets it."""
        kept = [
            (name, value)
            for name, value in asked.headers.raw_items()
            if not NOT_FOR_MAGE.fullmatch(name.replace(b"_", b"-"))
            and (upgrade or name.lower() != b"upgrade")
        ]
        ours = {
            "Connection": "Upgrade" if upgrade else "close",
            SECRET: self._home.runner_to_mage_secret.read_text().strip(),
            PERSON: person.name,
            ROLE: str(person.role),
        }
        kept += [(name.encode(), value.encode("latin-1")) for name, value in ours.items()]
        return h11.Request(method=asked.method, target=asked.target, headers=kept)

    async def _hand_over(self, person: Person, asked: h11.Request, people: _End) -> None:
        try:
            opened = await asyncio.open_connection("127.0.0.1", self._settings.mage_port)
        except OSError:
            raise Unavailable("Mage does not answer.", "It may be starting; try again.") from None
        mage = _End(h11.Connection(h11.CLIENT, LARGEST_HEAD), *opened)
        upgrade = _asks_for_web_socket(asked)
        try:
            await mage.send(self._for_mage(asked, person, upgrade))
            if not upgrade:
                ways = _pass_body(people, mage), _pass_answer(mage, people)
                await self._while_allowed(person, *ways)
                return
            await mage.send(h11.EndOfMessage())
            if await _pass_answer(mage, people, HEAD_SECONDS):
                people.writer.write(mage.http.trailing_data[0])
                pumps = _pump(people.reader, mage.writer), _pump(mage.reader, people.writer)
                await self._while_allowed(person, *pumps)
        finally:
            await _close(mage.writer)

    async def _while_allowed(self, person: Person, *ways: Coroutine[Any, Any, object]) -> None:
        """All ways at once, until one has ended or the person's right has."""
        tasks = [asyncio.create_task(way) for way in (*ways, self._until_lost(person))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_lost(self, person: Person) -> None:
        """Returns when the person may no longer what this connection was let in for."""
        while True:
            role, at = self._seen.get(person.name, (None, 0.0))
            if role is None or role < person.role or monotonic() - at > RIGHTS_SECONDS:
                log.info("relay: a connection of %s is closed: its right is over", person.name)
                return
            await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class _End:
    """One end of a request's way: its connection, and where HTTP stands on it."""

    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def next_event(self) -> h11.Event:
        """What comes next. Raises h11.RemoteProtocolError for what is no HTTP."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.reader.read(CHUNK))
        assert isinstance(event, h11.Event)  # nobody asks beyond a message's end
        return event

    async def send(self, event: h11.Event) -> None:
        self.writer.write(self.http.send(event) or b"")
        await self.writer.drain()


def read_head(head: bytes) -> tuple[h11.Connection, h11.Request]:
    """The request, and the connection that reads its body next. Raises Malformed for what two
    programs could read differently: where the body ends, above all."""
    http = h11.Connection(h11.SERVER, LARGEST_HEAD)
    http.receive_data(head)
    try:
        asked = http.next_event()
    except h11.RemoteProtocolError as error:
        raise Malformed(f"The request cannot be read: {error}.") from None
    # h11 also takes what older programs send, in its one way; ours is to be everybody's.
    if not isinstance(asked, h11.Request) or BARE_LINE_END.search(head):
        raise Malformed("The request's lines cannot be told apart.")
    if not FIRST_LINE.match(head) or asked.http_version != b"1.1":
        raise Malformed("The request's first line cannot be read.")
    names = [name.replace(b"_", b"-") for name, _ in asked.headers]
    if len(names) != head.count(b"\r\n") - 2:
        raise Malformed("A header goes over two lines, or says twice where the body ends.")
    if sum(name in (b"content-length", b"transfer-encoding") for name in names) > 1:
        raise Malformed("Where the request's body ends is not clear.")
    return http, asked


def _values_of(asked: h11.Request) -> Values:
    def values(name: str) -> Sequence[str]:
        wanted = name.lower().encode()
        return [value.decode("latin-1") for given, value in asked.headers if given == wanted]

    return values


def _asks_for_web_socket(asked: h11.Request) -> bool:
    """A web socket begins with a GET that has no body (RFC 6455, 4.1)."""
    values = _values_of(asked)
    upgrade = [value.lower() for value in values("Upgrade")] == ["websocket"]
    body = values("Transfer-Encoding") or "".join(values("Content-Length")).strip("0")
    return upgrade and asked.method == b"GET" and not body


async def _pass_body(people: _End, mage: _End) -> None:
    """The request's body, to its end; returns when the client has gone. What it sends after the
    body would be another request, and is never read as one."""
    event: h11.Event | None = None
    while not isinstance(event, h11.EndOfMessage):
        event = await people.next_event()
        await mage.send(event)
    while await people.reader.read(CHUNK):
        pass


async def _pass_answer(mage: _End, people: _End, seconds: float | None = None) -> bool:
    """Mage's answer, to its end; whether it opens a web socket. `seconds`: for each part of it.

    It is the last of its connection: on one that stayed open the proxy would send the next
    request, of whomever, and that would go through unread.
    """
    while True:
        event = await asyncio.wait_for(mage.next_event(), seconds)
        if isinstance(event, h11.Response):
            kept = [
                header
                for header in event.headers.raw_items()
                if header[0].lower() not in OF_ONE_HOP
            ]
            kept.append((b"Connection", b"close"))
            event = h11.Response(status_code=event.status_code, headers=kept, reason=event.reason)
        await people.send(event)
        if isinstance(event, h11.EndOfMessage):
            return False
        if mage.http.their_state is h11.SWITCHED_PROTOCOL:
            return True


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


async def _refuse(
    error: WorkspaceError, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answers, and reads on until the other end has closed: a body that met a closed connection
    would have the proxy say 502 in place of our answer."""
    with suppress(TimeoutError, OSError):
        writer.write(_answer(error))
        writer.write_eof()
        async with asyncio.timeout(REFUSAL_SECONDS):
            while await reader.read(CHUNK):
                pass


async def _close(writer: asyncio.StreamWriter) -> None:
    try:
        writer.close()
        await writer.wait_closed()
    except OSError:
        pass  # the other end was faster


def _answer(error: WorkspaceError) -> bytes:
    reasons = {Unauthorized: "Unauthorized", Forbidden: "Forbidden"}
    body = f"{error}\n".encode()
    lines = [
        f"HTTP/1.1 {error.status} {reasons.get(type(error), 'Refused')}",
        *("Content-Type: text/plain; charset=utf-8", "X-Content-Type-Options: nosniff"),
        *("Cache-Control: no-store", f"Content-Length: {len(body)}", "Connection: close"),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
