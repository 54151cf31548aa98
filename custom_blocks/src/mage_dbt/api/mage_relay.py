"""The people's way to Mage: takes what the proxy lets in, and hands it to Mage without its secrets.

Code in a notebook can see what Mage's process sees. So neither the proxy's secret nor a session's
cookie goes there: whoever had an operator's could be that operator at the runner. Mage is told a
name and a role, beside a secret that opens nothing but Mage.

One request a connection, each asked for anew; only the head is read, the rest goes through. What
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
from collections.abc import Sequence
from time import monotonic

from mage_dbt.errors import Forbidden, Malformed, Unauthorized, Unavailable, WorkspaceError
from mage_dbt.home import Home
from mage_dbt.identity.groups import Groups
from mage_dbt.identity.origin import refuse_other_page
from mage_dbt.identity.person import EMAIL, Person, Values
from mage_dbt.identity.role import Role
from mage_dbt.mage.door.headers import PERSON, ROLE, SECRET
from mage_dbt.mage.door.rules import is_page
from mage_dbt.settings import Settings

log = logging.getLogger(__name__)

LARGEST_HEAD = 65_536
"""Bytes of a request's head; Mage itself takes as many."""

HEAD_SECONDS = 30.0
RIGHTS_SECONDS = 300.0
LOOK_SECONDS = 1.0
CHUNK = 65_536

FIRST_LINE = re.compile(r"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.1")
HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*")

NOT_FOR_MAGE = re.compile(
    r"(cookie|authorization|connection|keep-alive|proxy-.*|x-forwarded-.*|x-workspace-.*)", re.I
)
"""With every `_` read as `-`: servers behind us may take one for the other."""


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
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_SECONDS)
            person, passed, upgrade = self._let_in(head)
            await self._hand_over(person, passed, upgrade, reader, writer)
        except WorkspaceError as error:
            writer.write(_answer(error))
        except asyncio.LimitOverrunError:
            writer.write(_answer(Malformed("The request's head is too large.")))
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass  # nobody is there to be told
        finally:
            await _close(writer)

    def _let_in(self, head: bytes) -> tuple[Person, bytes, bool]:
        """Who the request is from, its head as Mage gets it, and whether it asks for a web socket.

        Raises a WorkspaceError.
        """
        first, headers = read_head(head)

        def values(name: str) -> Sequence[str]:
            return [value for given, value in headers if given.lower() == name.lower()]

        secret = self._home.proxy_people_secret.read_text().strip()
        try:
            person = Person.read(values, secret, self._groups)
        except Forbidden:
            for name in values(EMAIL):
                self._seen.pop(name.strip().lower(), None)
            raise
        method, target, _ = first.split(" ")
        settings = self._settings
        page = is_page(target.partition("?")[0])
        refuse_other_page(values, method, settings.public_host, settings.public_origin, page)
        self._seen[person.name] = (person.role, monotonic())
        upgrade = _asks_for_web_socket(method, values)
        kept = [
            (name, value)
            for name, value in headers
            if not NOT_FOR_MAGE.fullmatch(name.replace("_", "-"))
            and (upgrade or name.lower() != "upgrade")
        ]
        kept += [
            ("Connection", "Upgrade" if upgrade else "close"),
            (SECRET, self._home.runner_to_mage_secret.read_text().strip()),
            (PERSON, person.name),
            (ROLE, str(person.role)),
        ]
        lines = [first, *(f"{name}: {value}" for name, value in kept)]
        return person, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), upgrade

    async def _hand_over(
        self,
        person: Person,
        head: bytes,
        upgrade: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            from_mage, to_mage = await asyncio.open_connection(
                "127.0.0.1", self._settings.mage_port
            )
        except OSError:
            raise Unavailable("Mage does not answer.", "It may be starting; try again.") from None
        try:
            to_mage.write(head)
            if upgrade and not await _upgraded(from_mage, writer):
                return
            await self._pass_on(person, (reader, to_mage), (from_mage, writer))
        finally:
            await _close(to_mage)

    async def _pass_on(
        self, person: Person, *ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        """Both ways, until one has ended or the person's right has."""
        tasks = [asyncio.create_task(_pump(*way)) for way in ways]
        tasks.append(asyncio.create_task(self._until_lost(person)))
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
            await asyncio.sleep(LOOK_SECONDS)


def read_head(head: bytes) -> tuple[str, list[tuple[str, str]]]:
    """The first line and the headers. Raises Malformed for what two programs could read
    differently: where the body ends, above all."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    if not FIRST_LINE.fullmatch(first):
        raise Malformed("The request's first line cannot be read.")
    headers = []
    for line in lines:
        if not (found := HEADER.fullmatch(line)):
            raise Malformed("A header cannot be read.")
        headers.append((found[1], found[2]))
    names = [name.lower().replace("_", "-") for name, _ in headers]
    lengths = [
        value for name, value in headers if name.lower().replace("_", "-") == "content-length"
    ]
    encodings = [value for name, value in headers if name.lower() == "transfer-encoding"]
    if (
        len(lengths) + names.count("transfer-encoding") > 1
        or any(not re.fullmatch("[0-9]{1,12}", one) for one in lengths)
        or any(one.lower() != "chunked" for one in encodings)
    ):
        raise Malformed("Where the request's body ends is not clear.")
    return first, headers


def _asks_for_web_socket(method: str, values: Values) -> bool:
    """A web socket begins with a GET that has no body (RFC 6455, 4.1). To another method's request
    the answer ends otherwise than its length says: that of a HEAD has a length and no body."""
    asked = [value.lower() for value in values("Upgrade")] == ["websocket"]
    body = values("Transfer-Encoding") or "".join(values("Content-Length")).strip("0")
    return asked and method == "GET" and not body


async def _upgraded(from_mage: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether Mage opens the web socket; its answer is passed on.

    Another answer leaves its connection open, and so would the proxy ours: the next request, of
    whomever, would then go through to Mage unread. So that answer is the last of its connection.
    """
    answer = await asyncio.wait_for(from_mage.readuntil(b"\r\n\r\n"), HEAD_SECONDS)
    if answer.startswith(b"HTTP/1.1 101 "):
        writer.write(answer)
        return True
    first, *lines = answer.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    kept = [line for line in lines if not line.lower().startswith(("connection:", "keep-alive:"))]
    ended = "\r\n".join([first, *kept, "Connection: close"]) + "\r\n\r\n"
    writer.write(ended.encode("latin-1"))
    lengths = [
        line.partition(":")[2].strip()
        for line in kept
        if line.lower().startswith("content-length:")
    ]
    left = int(lengths[0]) if lengths and lengths[0].isdecimal() else 0
    if first.split(" ")[1] in ("204", "304"):
        left = 0  # whatever length they tell
    while left > 0 and (data := await asyncio.wait_for(from_mage.read(CHUNK), HEAD_SECONDS)):
        writer.write(data[:left])
        left -= len(data)
    return False


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


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
