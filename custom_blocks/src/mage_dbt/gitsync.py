"""`python -m mage_dbt.gitsync`: a small stand-in for git-sync, with its contract.

The contract is that of git-sync v4 (https://github.com/kubernetes/git-sync): every commit gets a
worktree of its own, `.worktrees/<sha>`, which never changes once it is published; `current` is a
relative link to the one that is live, replaced by renaming a new link over it. So a reader that
resolves the link once reads one commit, whatever is pushed meanwhile. While the repository cannot
be reached, the last commit stays published.

`status.json` beside it says what the last look found.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from mage_dbt import elsewhere, redaction
from mage_dbt.errors import Unavailable, WorkspaceError, did_you_mean
from mage_dbt.home import Home
from mage_dbt.lists import short_list
from mage_dbt.redaction import without_credentials
from mage_dbt.settings import Settings

log = logging.getLogger("mage_dbt.gitsync")

LINK = "current"
STATUS = "status.json"

KEPT_SECONDS = 6 * 3600.0
"""How long a worktree stays after another took its place; readers may still be in it."""

SUBMODULES_SECONDS = 60.0
"""Between two tries to bring submodules of the published commit that could not be had."""

LOOK_SECONDS = 60.0
FETCH_SECONDS = 1800.0
"""Limits of one `git ls-remote`, and of one fetch or checkout."""

LONGEST_WAIT = 60.0
"""Seconds between two tries while the repository cannot be reached; it grows up to this."""

PROTOCOLS = "git:http:https:ssh"
"""And `file`, where the repository itself is on this machine; a submodule of another is not."""


@dataclass(frozen=True)
class Status:
    """What the last look found; `error` is git's own message, empty when all is well."""

    repository: str
    ref: str
    head: str | None
    published: str | None
    checked_at: str
    error: str
    next_look_at: str


class GitSync:
    """Publishes one ref of `repository` in `folder`."""

    def __init__(self, repository: str, ref: str, folder: Path, poll_seconds: float) -> None:
        self._repository = repository
        self._shown = without_credentials(repository)
        self._ref = ref
        self._folder = folder
        self._poll_seconds = poll_seconds
        self._repo = folder / ".repo"
        self._worktrees = folder / ".worktrees"
        self._head: str | None = None
        self._refs: dict[str, str] = {}
        self._fetched: dict[str, str] = {}
        self._failures = 0
        self._lacking: str | None = None
        """Why submodules of the published commit are not here; None before that was looked at."""
        self._tried_at = 0.0
        self._environ: dict[str, str] = {}

    def run(self, stopping: threading.Event) -> None:
        """Looks again and again until `stopping` is set."""
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
        """One look at the repository: publishes a new commit; returns seconds until the next."""
        error = ""
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
        self._write_status(error or self._lacking or "", pause)
        return pause

    def published(self) -> str | None:
        """The SHA that the link names now."""
        link = self._folder / LINK
        return link.readlink().name if link.is_symlink() else None

    def _prepare(self) -> None:
        self._worktrees.mkdir(exist_ok=True)
        self._environ = self._environment()
        if self._repo.exists() and self._try("rev-parse", "--git-dir") is None:
            shutil.rmtree(self._repo)
        if not self._repo.exists():
            aside = self._folder / ".repo.new"
            if aside.exists():
                shutil.rmtree(aside)
            self._git(["init", "--quiet", "--bare", str(aside)], LOOK_SECONDS, self._folder)
            aside.rename(self._repo)
        # We are the only one who works here, so these are of a git that was killed.
        for left in self._repo.rglob("*.lock"):
            left.unlink()

    def _resolve(self) -> str:
        """The SHA that the ref names in the repository now."""
        names = (f"refs/heads/{self._ref}", f"refs/tags/{self._ref}^{{}}", f"refs/tags/{self._ref}")
        said = self._git(["ls-remote", "--quiet", "--", self._repository], LOOK_SECONDS)
        # Not splitlines: the name of a ref may hold what Unicode calls an end of a line.
        found = dict(line.split("\t", 1)[::-1] for line in said.split("\n") if "\t" in line)
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
        if self._try("cat-file", "-e", f"{sha}^{{commit}}") is None:
            self._fetch()
        before = self.published()
        self._check_out(sha)
        self._bring_submodules(self._worktrees / sha)
        aside = self._folder / f"{LINK}.new"
        aside.unlink(missing_ok=True)
        aside.symlink_to(Path(self._worktrees.name) / sha)
        aside.rename(self._folder / LINK)
        if before:
            # From now on its age counts.
            os.utime(self._worktrees / before)
        log.info("published %s", sha)

    def _follow_refs(self) -> None:
        """Brings branches and tags that came, moved or went without a commit to publish."""
        if self._refs == self._fetched:
            return
        listed = self._git(
            ["for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags"],
            LOOK_SECONDS,
        )
        if dict(line.rsplit(" ", 1) for line in listed.split("\n") if line) == self._refs:
            self._fetched = self._refs
        else:
            self._fetch()

    def _fetch(self) -> None:
        """Branches and tags with all their history: what a commit came from is asked later."""
        log.info("fetching %s of %s", self._ref, self._shown)
        refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        fetch = ["fetch", "--quiet", "--prune", "--force", "--no-recurse-submodules"]
        self._git([*fetch, "--", self._repository, *refs], FETCH_SECONDS)
        self._fetched = self._refs

    def _check_out(self, sha: str) -> None:
        path = self._worktrees / sha
        if path.exists():
            clean = self._try("-C", str(path), "status", "--porcelain", "--untracked-files=all")
            if clean == "" and self._try("-C", str(path), "rev-parse", "HEAD") == sha:
                return
            # Left by a sync that was killed in the middle.
            shutil.rmtree(path)
        self._git(["worktree", "prune"], LOOK_SECONDS)
        add = ["worktree", "add", "--quiet", "--force", "--detach"]
        self._git([*add, str(path), sha], FETCH_SECONDS)

    def _bring_submodules(self, worktree: Path) -> None:
        """Fills the commit's submodules. Those that cannot be had stay empty, and it is published
        all the same: dbt may not need them, and the runner says it when it does."""
        self._lacking, self._tried_at = "", time.monotonic()
        if not (worktree / ".gitmodules").is_file():
            return
        listed = self._git(["ls-tree", "-r", "-z", "--full-tree", "HEAD"], LOOK_SECONDS, worktree)
        for path, _ in elsewhere.submodules(listed):
            # Each by itself: git stops at the first that it cannot clone.
            update = ["submodule", "--quiet", "update", "--init", "--recursive", "--force"]
            try:
                self._git([*update, "--", path], FETCH_SECONDS, worktree)
            except WorkspaceError as problem:
                said = without_credentials(f"submodule {path}: {problem}")
                self._lacking = f"{self._lacking} {said}".strip()
        if self._lacking:
            log.error("%s (next try in %.0f s)", self._lacking, SUBMODULES_SECONDS)

    def _remove_old(self) -> None:
        limit = time.time() - KEPT_SECONDS
        for path in self._worktrees.iterdir():
            if path.name != self.published() and path.stat().st_mtime < limit:
                shutil.rmtree(path)
                self._git(["worktree", "prune"], LOOK_SECONDS)

    def _write_status(self, error: str, pause: float) -> None:
        now = datetime.now(UTC)
        status = Status(
            repository=self._shown,
            ref=self._ref,
            head=self._head,
            published=self.published(),
            checked_at=now.isoformat(timespec="seconds"),
            error=error,
            next_look_at=(now + timedelta(seconds=pause)).isoformat(timespec="seconds"),
        )
        aside = self._folder / f"{STATUS}.new"
        try:
            aside.write_text(json.dumps(asdict(status), indent=1))
            aside.rename(self._folder / STATUS)
        except OSError as problem:
            log.error("cannot write %s: %s", STATUS, problem.strerror)

    def _try(self, *arguments: str) -> str | None:
        """git's answer about what is already here, or None when it has none."""
        try:
            return self._git(list(arguments), LOOK_SECONDS).strip()
        except WorkspaceError:
            return None

    def _git(self, arguments: list[str], seconds: float, folder: Path | None = None) -> str:
        options = ["-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false"]
        options += ["-c", "gc.autoDetach=false", "-c", "advice.detachedHead=false"]
        try:
            done = subprocess.run(
                ["git", *options, *arguments],
                cwd=folder or self._repo,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(
                f"git {arguments[0]} of {self._shown} took more than {seconds:.0f} s."
            ) from None
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise Unavailable(
                f"git {arguments[0]} of {self._shown} failed: {said}",
                "DBT_METRIC_REPO names the repository." if arguments[0] == "ls-remote" else "",
            )
        return done.stdout

    def _environment(self) -> dict[str, str]:
        environ = {
            name: value
            for name, value in os.environ.items()
            if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
        }
        environ |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": PROTOCOLS, "LC_ALL": "C"}
        environ.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        # Submodules with relative addresses, and Git LFS, ask where the repository came from.
        count = int(environ.get("GIT_CONFIG_COUNT") or 0)
        environ[f"GIT_CONFIG_KEY_{count}"] = "remote.origin.url"
        environ[f"GIT_CONFIG_VALUE_{count}"] = self._repository
        environ["GIT_CONFIG_COUNT"] = str(count + 1)
        address = urlsplit(self._repository)
        # `host:path` is ssh's.
        if address.scheme == "file" or not re.match(r"[^/]+:", self._repository):
            environ["GIT_ALLOW_PROTOCOL"] = f"file:{PROTOCOLS}"
        if address.scheme in ("", "file") and Path(address.path).exists():
            # git refuses a repository of another user, and takes the exception only from a
            # configuration file: a local fetch drops what stands on the command line.
            file = self._folder / ".gitconfig"
            path = Path(address.path).resolve()
            lines = [f'[safe]\n\tdirectory = "{one}"\n' for one in (path, path / ".git")]
            file.write_text(
                "".join([*(f'[include]\n\tpath = "{one}"\n' for one in _own()), *lines])
            )
            environ["GIT_CONFIG_GLOBAL"] = str(file)
        return environ


def _own() -> list[Path]:
    """The person's own git configuration, which the file for safe.directory replaces."""
    home = Path.home()
    given = os.environ.get("GIT_CONFIG_GLOBAL")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [Path(given)] if given else [config / "git" / "config", home / ".gitconfig"]


def main() -> None:
    stopping = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda signum, frame: stopping.set())
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
