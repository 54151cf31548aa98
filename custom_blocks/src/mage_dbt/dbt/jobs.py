"""What a worker does for its job, on a parsed project: cold or forked, the same."""

from __future__ import annotations

from typing import IO, Any

from mage_dbt.dbt import profile_secrets
from mage_dbt.dbt.describe import describe
from mage_dbt.dbt.docs import write_docs
from mage_dbt.dbt.graph_json import graph_json
from mage_dbt.dbt.invocation import Invocation, arguments_of
from mage_dbt.dbt.project import Project
from mage_dbt.dbt.survey import survey
from mage_dbt.model.command import UNDO
from mage_dbt.model.docs import DOCS_FILE
from mage_dbt.workers.control_channel import ControlChannel
from mage_dbt.workers.job import DESCRIBE, DOCS, SURVEY, Job


def do(job: Job, project: Project, control: ControlChannel, answer: IO[str]) -> None:
    """Answers with what the job's command makes of the project; a run then waits for its turn.

    Raises NotParsed when the graph does not compile.
    """

    def give(data: dict[str, Any]) -> None:
        answer.write(profile_secrets.line(data))

    arguments = arguments_of(job)
    if job.command in (DESCRIBE, UNDO) and project.config is None:
        project.warm(arguments)
    if job.command == DESCRIBE:
        whole = {"graph_json": graph_json(project)} if job.details else {}
        give({"refused": "", **describe(project), **whole})
    elif job.command == SURVEY:
        give({"refused": "", **survey(project, arguments)})
    elif job.command == DOCS:
        give(write_docs(project, arguments, job.parsed.parent / DOCS_FILE))
    elif job.command == UNDO:
        # Imported here: another adapter may come without the driver.
        from mage_dbt.dbt.refresh.undo import Undo

        Undo(job, project).run(give, control.wait_for_start)
    else:
        invocation = Invocation(job, project, arguments, control.wait_for_swap)
        invocation.run(give, control.wait_for_start)
