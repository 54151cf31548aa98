"""`python -m mage_dbt.commits.git_sync`: a small stand-in for git-sync, with its contract.

The contract is that of git-sync v4 (https://github.com/kubernetes/git-sync): every commit gets a
worktree of its own, `.worktrees/<sha>`, which never changes once it is published; `current` is a
relative link to the one that is live, replaced by renaming a new link over it. So a reader that
resolves the link once reads one commit, whatever is pushed meanwhile. While the repository cannot
be reached, the last commit stays published.

`status.json` beside it holds the outcome of the last check of the repository.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from mage_dbt.base import files, redaction
from mage_dbt.base.git import ALLOWED_PROTOCOLS, Git, allowed_protocols, reason
from mage_dbt.base.lists import short_list
from mage_dbt.base.redaction import without_credentials
from mage_dbt.commits import export
from mage_dbt.errors import Unavailable, WorkspaceError, did_you_mean
from mage_dbt.home import Home
from mage_dbt.settings import Settings

log = logging.getLogger("mage_dbt.commits.git_sync")

LINK = "current"
STATUS = "status.json"

KEPT_SECONDS = 6 * 3600.0
"""How long a worktree stays after another was published: a reader may still be in it."""

SUBMODULES_SECONDS = 60.0
"""Between two attempts to fetch submodules of the published commit that failed before."""

ASK_SECONDS = 60.0
FETCH_SECONDS = 1800.0
"""Time limits: of a question to git, `ls-remote` among them, and of a fetch or checkout."""

LONGEST_WAIT = 60.0
"""Seconds. While the repository cannot be reached, the poll interval doubles up to this."""

CONFIG = (
    *("core.hooksPath=/dev/null", "core.autocrlf=false"),
    *("gc.autoDetach=false", "advice.detachedHead=false"),
)


@dataclass(frozen=True)
class Status:
    """What `status.json` holds; `error` is git's own message, empty when all is well.

    The poll began at `asked_at`, in seconds since the epoch: it knows nothing of later pushes.
    """

    repository: str
    ref: str
    head: str | None
    published: str | None
    asked_at: float
    checked_at: str
    error: str
    next_look_at: str


class GitSync:
    """Publishes one branch or tag of a repository in a folder, poll after poll."""

    def __init__(self, repository: str, ref: str, folder: Path, poll_seconds: float) -> None:
        self._repository = repository
        self._shown = without_credentials(repository)
        self._ref = ref
        self._folder = folder
        self._poll_seconds = poll_seconds
        self._store = folder / ".repo"
        self._worktrees = folder / ".worktrees"
        self._head: str | None = None
        self._refs: dict[str, str] = {}
        self._fetched: dict[str, str] = {}
        self._failures = 0
        self._lacking: str | None = None
        """Why submodules of the published commit are missing; None before the first attempt."""
        self._tried_at = 0.0
        self._git = Git(self._store, CONFIG)

    def run(self, stopping: threading.Event) -> None:
        """Polls until `stopping` is set. Raises WorkspaceError when another one does already."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WorkspaceError(f"Another git sync keeps {self._folder}.") from None
            self._prepare()
            while True:
                if stopping.wait(self.look()):
                    return

    def look(self) -> float:
        """One poll: publishes a new commit, if there is one. Returns the seconds until the next."""
        error, asked_at = "", time.time()
        try:
            self._head = self._resolve()
            if self._head != self.published():
                self._publish(self._head)
            elif self._lacking is None or (
                self._lacking and time.monotonic() - self._tried_at > SUBMODULES_SECONDS
            ):
                self._bring_submodules(self._worktrees / self._head)
            self._follow_refs()
            self._remove_old()
        except (WorkspaceError, OSError) as problem:
            error = without_credentials(str(problem))
        self._failures = self._failures + 1 if error else 0
        pause = self._poll_seconds
        if error:
            pause = min(pause * 2 ** min(self._failures - 1, 10), max(LONGEST_WAIT, pause))
            log.error("%s (next try in %.0f s)", error, pause)
        self._write_status(error or self._lacking or "", asked_at, pause)
        return pause

    def published(self) -> str | None:
        """The SHA that `current` names now; None before the first commit is published."""
        link = self._folder / LINK
        return link.readlink().name if link.is_symlink() else None

    def _prepare(self) -> None:
        self._worktrees.mkdir(exist_ok=True)
        self._git = Git(self._store, CONFIG, self._environment())
        if self._store.exists() and self._answer("rev-parse", "--git-dir") is None:
            shutil.rmtree(self._store)
        if not self._store.exists():
            with files.new_folder(self._store) as aside:
                self._run("init", "--quiet", "--bare", str(aside), folder=self._folder)
        # This process holds the lock on the folder, so a git that was killed has left these.
        for left in self._store.rglob("*.lock"):
            left.unlink()

    def _resolve(self) -> str:
        """The SHA that the ref names in the repository now."""
        names = (f"refs/heads/{self._ref}", f"refs/tags/{self._ref}^{{}}", f"refs/tags/{self._ref}")
        listed = self._run("ls-remote", "--quiet", "--", self._repository)
        # Not splitlines: the name of a ref may hold what Unicode calls an end of a line.
        found = dict(line.split("\t", 1)[::-1] for line in listed.split("\n") if "\t" in line)
        self._refs = {
            name: sha
            for name, sha in found.items()
            if name.startswith(("refs/heads/", "refs/tags/")) and not name.endswith("^{}")
        }
        for name in names:
            if name in found:
                return found[name]
        others = [name.split("/", 2)[2] for name in found if name.startswith("refs/heads/")]
        tags = [name.split("/", 2)[2] for name in self._refs if name.startswith("refs/tags/")]
        has = f"It has {short_list(sorted(others), 10)}." if others else "It is empty."
        near = did_you_mean(self._ref, [*others, *tags])
        raise WorkspaceError(
            f"No branch or tag {self._ref!r} in {self._shown}.",
            " ".join(
                filter(None, (has, near, "DBT_METRIC_REF names it: set it, and start again."))
            ),
        )

    def _publish(self, sha: str) -> None:
        if self._answer("cat-file", "-e", f"{sha}^{{commit}}") is None:
            self._fetch()
        before = self.published()
        self._check_out(sha)
        self._bring_submodules(self._worktrees / sha)
        files.replace_link(self._folder / LINK, Path(self._worktrees.name) / sha)
        if before:
            # KEPT_SECONDS begin now.
            os.utime(self._worktrees / before)
        log.info("published %s", sha)

    def _follow_refs(self) -> None:
        """Fetches branches and tags that came, moved or went without a commit to publish."""
        if self._refs == self._fetched:
            return
        refs = ("refs/heads", "refs/tags")
        listed = self._run("for-each-ref", "--format=%(refname) %(objectname)", *refs)
        if dict(line.rsplit(" ", 1) for line in listed.split("\n") if line) == self._refs:
            self._fetched = self._refs
        else:
            self._fetch()

    def _fetch(self) -> None:
        """Fetches all branches and tags with their history, which the runner asks about."""
        log.info("fetching %s of %s", self._ref, self._shown)
        refs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        fetch = ("fetch", "--quiet", "--prune", "--force", "--no-recurse-submodules")
        self._run(*fetch, "--", self._repository, *refs, seconds=FETCH_SECONDS)
        self._fetched = self._refs

    def _check_out(self, sha: str) -> None:
        path = self._worktrees / sha
        if path.exists():
            changed = self._answer("status", "--porcelain", "--untracked-files=all", folder=path)
            if changed == "" and self._answer("rev-parse", "HEAD", folder=path) == sha:
                return
            # A sync that was killed in the middle has left it.
            shutil.rmtree(path)
        self._run("worktree", "prune")
        add = ("worktree", "add", "--quiet", "--force", "--detach")
        self._run(*add, str(path), sha, seconds=FETCH_SECONDS)

    def _bring_submodules(self, worktree: Path) -> None:
        """Fills the commit's submodules. One that cannot be fetched stays empty, and the commit is
        published all the same: dbt may not need it, and the runner reports it when dbt does."""
        self._lacking, self._tried_at = "", time.monotonic()
        if not (worktree / ".gitmodules").is_file():
            return
        listed = self._run("ls-tree", "-r", "-z", "--full-tree", "HEAD", folder=worktree)
        for path, _ in export.submodules(listed):
            # Each by itself: git stops at the first that it cannot clone.
            update = ("submodule", "--quiet", "update", "--init", "--recursive", "--force")
            try:
                self._run(*update, "--", path, seconds=FETCH_SECONDS, folder=worktree)
            except WorkspaceError as problem:
                message = without_credentials(f"submodule {path}: {problem}")
                self._lacking = f"{self._lacking} {message}".strip()
        if self._lacking:
            log.error("%s (next try in %.0f s)", self._lacking, SUBMODULES_SECONDS)

    def _remove_old(self) -> None:
        limit = time.time() - KEPT_SECONDS
        for path in self._worktrees.iterdir():
            if path.name != self.published() and path.stat().st_mtime < limit:
                shutil.rmtree(path)
                self._run("worktree", "prune")

    def _write_status(self, error: str, asked_at: float, pause: float) -> None:
        now = datetime.now(UTC)
        status = Status(
            repository=self._shown,
            ref=self._ref,
            head=self._head,
            published=self.published(),
            asked_at=asked_at,
            checked_at=now.isoformat(timespec="seconds"),
            error=error,
            next_look_at=(now + timedelta(seconds=pause)).isoformat(timespec="seconds"),
        )
        try:
            files.replace_file(self._folder / STATUS, json.dumps(asdict(status), indent=1))
        except OSError as problem:
            log.error("cannot write %s: %s", STATUS, problem.strerror)

    def _answer(self, *arguments: str, folder: Path | None = None) -> str | None:
        """git's answer about what is already here, or None when it has none."""
        try:
            return self._run(*arguments, folder=folder).strip()
        except WorkspaceError:
            return None

    def _run(
        self, *arguments: str, seconds: float | None = None, folder: Path | None = None
    ) -> str:
        """What git prints. Raises Unavailable with its message."""
        git = self._git.at(folder) if folder else self._git
        of = f"git {arguments[0]} of {self._shown}"
        limit = seconds or ASK_SECONDS
        try:
            done = git.run(*arguments, seconds=limit)
        except Unavailable:
            raise Unavailable(f"{of} took more than {limit:.0f} s.") from None
        if done.returncode:
            raise Unavailable(
                f"{of} failed: {reason(done)}",
                "DBT_METRIC_REPO names the repository." if arguments[0] == "ls-remote" else "",
            )
        return done.stdout

    def _environment(self) -> dict[str, str]:
        environ = {
            name: value
            for name, value in os.environ.items()
            if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
        }
        protocols = allowed_protocols(self._repository)
        environ |= {"GIT_TERMINAL_PROMPT": "0", ALLOWED_PROTOCOLS: protocols, "LC_ALL": "C"}
        environ.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        # Submodules with relative addresses, and Git LFS, look up the repository's own address.
        count = int(environ.get("GIT_CONFIG_COUNT") or 0)
        environ[f"GIT_CONFIG_KEY_{count}"] = "remote.origin.url"
        environ[f"GIT_CONFIG_VALUE_{count}"] = self._repository
        environ["GIT_CONFIG_COUNT"] = str(count + 1)
        address = urlsplit(self._repository)
        if address.scheme in ("", "file") and Path(address.path).exists():
            # git refuses a repository of another user, and takes the exception only from a
            # configuration file: a local fetch drops what stands on the command line.
            file = self._folder / ".gitconfig"
            path = Path(address.path).resolve()
            included = [f'[include]\n\tpath = "{config}"\n' for config in _own_configuration()]
            safe = [f'[safe]\n\tdirectory = "{folder}"\n' for folder in (path, path / ".git")]
            file.write_text("".join([*included, *safe]))
            environ["GIT_CONFIG_GLOBAL"] = str(file)
        return environ


def _own_configuration() -> list[Path]:
    """The user's own git configuration, which the file for safe.directory replaces."""
    home = Path.home()
    given = os.environ.get("GIT_CONFIG_GLOBAL")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [Path(given)] if given else [config / "git" / "config", home / ".gitconfig"]


def main() -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: stopping.set())
    try:
        settings = Settings.load()
        redaction.log_to_standard_error(logging.INFO, ZoneInfo(settings.daily_build_timezone))
        home = Home(settings.workspace_home)
        GitSync(
            repository=settings.dbt_metric_repo or str(home.demo_repository),
            ref=settings.dbt_metric_ref,
            folder=settings.dbt_metric_dir or home.sync,
            poll_seconds=settings.dbt_metric_poll_seconds,
        ).run(stopping)
    except WorkspaceError as error:
        sys.exit(f"ERROR: {redaction.scrub(without_credentials(str(error)))}")


if __name__ == "__main__":
    main()
