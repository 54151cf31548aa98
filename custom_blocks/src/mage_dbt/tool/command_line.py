"""The command line: reads it, runs its verb, and turns errors into exit statuses."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from mage_dbt.base.clock import Clock
from mage_dbt.client.client import RunnerClient
from mage_dbt.errors import WorkspaceError
from mage_dbt.home import Home
from mage_dbt.settings import Settings
from mage_dbt.tool import history_verbs, request_verbs, schedule_verbs, status_verbs
from mage_dbt.tool.parser import EXAMPLES, Parser, Verbs


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Exit status: 0 done, 1 a run did not succeed, 2 the command is refused."""
    options = command_line().parse_args(arguments)
    # The tool prints errors itself, once; a service would log them.
    logging.getLogger("mage_dbt").addHandler(logging.NullHandler())
    try:
        settings = Settings.load()
        client = RunnerClient(Home(settings.workspace_home).runner_socket)
        options.clock = Clock(ZoneInfo(settings.daily_build_timezone))
        options.page = settings.page_address
        return int(options.verb(client, options))
    except WorkspaceError as error:
        if options.json:
            print(json.dumps({"error": error.message, "hint": error.hint}))
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nNo longer watching; the run goes on.", file=sys.stderr)
        return 130


def command_line() -> Parser:
    """The parser of the whole command line, with all verbs."""
    parser = Parser(
        description="Plan, run and watch dbt-metric in this workspace.", epilog=EXAMPLES
    )
    verbs = Verbs(parser)
    request_verbs.add_to(verbs)
    history_verbs.add_to(verbs)
    status_verbs.add_to(verbs)
    schedule_verbs.add_to(verbs)
    return parser
