"""What Mage does with our patches; each of these fails on a Mage as the package brings it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mage_dbt.mage.patches import PATCHES
from mage_dbt.settings import CHECKOUT

InMage = Callable[[str], list[str]]

Asked = Callable[[str, Path], int]

FORGOTTEN_JOB = """
import time
from pathlib import Path
from mage_ai.orchestration.queue.config import QueueConfig
from mage_ai.orchestration.queue.process_queue import JobStatus, ProcessQueue

done = Path("done")
queue = ProcessQueue(QueueConfig())
queue.start()
# What is left when the pool saw an empty queue and ended while the job was on its way.
queue.queue.put(["job", done.touch, [], {}])
queue.job_dict["job"] = JobStatus.QUEUED
deadline = time.monotonic() + 300
while not done.exists() and time.monotonic() < deadline:
    queue.clean_up_jobs()  # as the scheduler does at every turn
    time.sleep(0.5)
print("answer", done.exists())
"""

TAKEN_JOB = """
import time
from mage_ai.orchestration.queue.config import QueueConfig
from mage_ai.orchestration.queue.process_queue import JobStatus, ProcessQueue

queue = ProcessQueue(QueueConfig())
queue.start()
queue.enqueue("other", time.sleep, 600)
deadline = time.monotonic() + 300
while not isinstance(queue.job_dict["other"], int) and time.monotonic() < deadline:
    time.sleep(0.05)
# What there is when a worker has the job and has not noted it yet.
queue.job_dict["job"] = JobStatus.QUEUED
print("answer", queue.queue.empty(), queue.has_job("job"))
queue.clean_up_jobs()
print("answer", queue.job_dict.get("job"))
queue.kill_job("other")
"""

QUICK_WORKER = """
from mage_ai.orchestration.queue.config import QueueConfig
from mage_ai.orchestration.queue.process_queue import ProcessQueue

queue = ProcessQueue(QueueConfig())
queue.start()
queue.queue.put = lambda job: print("answer", queue.job_dict.get(job[0]))
queue.enqueue("job", print)
"""

BLOCK_RUNS = """
from pathlib import Path
from mage_ai.settings.repo import set_repo_path

project = Path("project").absolute()
(project / "pipelines" / "own").mkdir(parents=True)
(project / "metadata.yaml").write_text("project_type: standalone\\n")
(project / "pipelines" / "own" / "metadata.yaml").write_text('''
name: own
uuid: own
type: python
blocks:
- {uuid: own, name: own, type: custom, language: python, upstream_blocks: [], downstream_blocks: []}
''')
set_repo_path(str(project))

from mage_ai.data_preparation.models.pipeline import Pipeline
from mage_ai.orchestration import pipeline_scheduler_original as scheduler
from mage_ai.orchestration.db import db_connection, engine
from mage_ai.orchestration.db.models.base import Base
from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineSchedule
from mage_ai.orchestration.triggers.utils import create_and_start_pipeline_run

db_connection.start_session()
Base.metadata.create_all(engine)
schedule = PipelineSchedule.create(name="own", pipeline_uuid="own", repo_path=str(project))
run = create_and_start_pipeline_run(Pipeline.get("own"), schedule, {})
"""

TWO_MAKERS = """
print("answer", len(run.block_runs))
scheduler.PipelineScheduler(run).start(should_schedule=False)
run.refresh()
print("answer", len(run.block_runs))
"""

ENDED_BETWEEN = """
from sqlalchemy import text

scheduler.PipelineScheduler(run).start(should_schedule=False)
run.refresh()
run.block_runs[0].update(status=BlockRun.BlockRunStatus.RUNNING)

class Jobs:
    def has_block_run_job(self, number, **more):
        with engine.begin() as worker:
            worker.execute(text(f"update block_run set status = '{ENDS_AS}' where id = {number}"))
        return False

scheduler.get_job_manager = Jobs
crashed = scheduler.PipelineScheduler(run)._PipelineScheduler__fetch_crashed_block_runs()
print("answer", len(crashed), BlockRun.query.get(run.block_runs[0].id).status)
"""

YAML_BLOCK = """
import logging
from pathlib import Path
import pandas as pd
from mage_ai.settings.repo import set_repo_path

project = Path("project")
(project / "pipelines" / "own").mkdir(parents=True)
(project / "dbts").mkdir()
(project / "dbts" / "dbt_project.yml").write_text("name: own\\n")
(project / "metadata.yaml").write_text("project_type: standalone\\n")
(project / "pipelines" / "own" / "metadata.yaml").write_text('''
name: own
uuid: own
type: python
blocks:
- uuid: own_dbt
  name: own_dbt
  type: dbt
  language: yaml
  upstream_blocks: []
  downstream_blocks: []
  configuration: {dbt: {command: COMMAND}, file_source: {path: dbts/own_dbt.yaml}}
''')
(project / "dbts" / "own_dbt.yaml").write_text(FLAGS)
set_repo_path(str(project.absolute()))

from mage_dbt.mage import blocks

def run_command(words, variables, kwargs):
    print("answer", words, variables, kwargs["block_uuid"])
    return pd.DataFrame([{"node": "fct_orders", "status": "success"}])

blocks.run_command = run_command

from mage_ai.data_preparation.models.pipeline import Pipeline

logged = []
logger = logging.getLogger("own")
logger.setLevel("INFO")
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logger.addHandler(handler)

block = Pipeline.get("own").get_block("own_dbt")
try:
    block.execute_sync(global_vars={"execution_date": "2026-11-23"})
except Exception as error:
    print("answer", type(error).__name__, error)
"""

ANY_OTHER = """
from mage_ai.data_preparation.models.block.dbt.dbt_cli import DBTCli
try:
    DBTCli().invoke(["show"])
except Exception as error:
    print("answer", type(error).__name__, error)
"""


FORKS = """
import json, os, sys
import IPython, httpx, jupyter_client, memory_profiler
import pandas, polars, sqlalchemy.orm

for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
else:
    sys.exit()
os.environ.clear()
os.environ.update(asked["environment"])
os.chdir(asked["folder"])
null = os.open(os.devnull, os.O_RDONLY)
output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
errors = os.open("errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
for number, instead in enumerate((null, output, errors)):
    os.dup2(instead, number)
exec(compile(asked["code"], "<string>", "exec"))
"""
"""Imports what Mage imports of others, 4 s of CPU, once. Whatever is Mage's own, and so may be
patched or depend on the environment, is imported by each fork."""


@pytest.fixture(scope="module")
def forks(mage_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Runs code with this environment in this folder; gives its exit status."""
    home = str(tmp_path_factory.mktemp("forks"))
    with subprocess.Popen(
        [mage_python, "-c", FORKS],
        env=environment(home),
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        questions, answers = process.stdin, process.stdout
        assert questions is not None and answers is not None

        def asked(code: str, folder: Path) -> int:
            what = {"code": code, "environment": environment(str(folder)), "folder": str(folder)}
            print(json.dumps(what), file=questions, flush=True)
            return int(answers.readline())

        yield asked
        questions.close()


def environment(folder: str) -> dict[str, str]:
    return {
        "HOME": folder,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(CHECKOUT / "custom_blocks" / "src"),
        "MAGE_DATA_DIR": f"{folder}/data",
    }


@pytest.fixture
def in_mage(forks: Asked, tmp_path: Path) -> InMage:
    """Runs code in Mage's environment; gives the lines that begin with `answer`."""

    def run(code: str) -> list[str]:
        assert forks(code, tmp_path) == 0, (tmp_path / "errors").read_text()[-3000:]
        output = (tmp_path / "output").read_text().splitlines()
        return [line.removeprefix("answer ") for line in output if line.startswith("answer ")]

    return run


def dbt_block(command: str, flags: str) -> str:
    return YAML_BLOCK.replace("COMMAND", command).replace("FLAGS", repr(flags))


def test_a_job_that_the_worker_pool_left_in_the_queue_is_run(in_mage: InMage) -> None:
    assert in_mage(FORGOTTEN_JOB) == ["True"]


def test_a_job_that_a_worker_has_just_taken_is_not_queued_again(in_mage: InMage) -> None:
    assert in_mage(TAKEN_JOB) == ["True True", "queued"]


def test_a_job_has_a_status_before_a_worker_can_take_it(in_mage: InMage) -> None:
    assert in_mage(QUICK_WORKER) == ["queued"]


def test_the_scheduler_alone_makes_the_rows_of_a_triggered_runs_blocks(in_mage: InMage) -> None:
    assert in_mage(BLOCK_RUNS + TWO_MAKERS) == ["0", "1"]


@pytest.mark.parametrize(
    ("ends_as", "found"),
    [("COMPLETED", "0 completed"), ("FAILED", "0 failed"), ("RUNNING", "1 initial")],
)
def test_a_block_that_ends_under_the_schedulers_eyes_is_not_executed_again(
    in_mage: InMage, ends_as: str, found: str
) -> None:
    code = BLOCK_RUNS + ENDED_BETWEEN
    assert in_mage(code.replace("{ENDS_AS}", ends_as)) == [found]


def test_a_dbt_block_of_mage_asks_the_runner_and_passes_only_its_own_vars(in_mage: InMage) -> None:
    output = in_mage(dbt_block("build", "--select fct_orders+ --vars '{since: 2026-01-01}'"))
    assert output == [
        "['build', '--select', 'fct_orders+'] {'since': datetime.date(2026, 1, 1)} own_dbt"
    ]


def test_what_a_dbt_block_prints_is_in_mages_log(in_mage: InMage) -> None:
    code = dbt_block("build", "--select fct_orders").replace(
        "execute_sync(", "execute_sync(logger=logger, "
    )
    code = code.replace('print("answer", words', 'print("fct_orders is built", words')
    (output,) = in_mage(code + '\nprint("answer", "fct_orders is built" in str(logged))')
    assert output == "True"


def test_a_model_as_a_file_of_mages_is_refused_and_says_what_to_do(in_mage: InMage) -> None:
    code = dbt_block("run", "select 1").replace("own_dbt.yaml", "fct_orders.sql")
    where = "configuration: {file_path: dbts/fct_orders.sql, "
    code = code.replace("language: yaml", "language: sql").replace("configuration: {", where)
    (output,) = in_mage(code)
    assert output.startswith("BadCommand fct_orders is a dbt model as a file of Mage's")
    assert "`--select fct_orders`" in output


def test_no_other_way_of_mages_into_dbt_is_left(in_mage: InMage) -> None:
    (output,) = in_mage(ANY_OTHER)
    assert output.startswith(
        "BadCommand Mage has no dbt of its own here, so `dbt show` cannot run."
    )


def test_deps_in_a_dbt_block_runs_nothing(in_mage: InMage) -> None:
    assert in_mage(dbt_block("deps", "")) == []


def test_unreadable_vars_are_refused_by_name(in_mage: InMage) -> None:
    (output,) = in_mage(dbt_block("run", "--vars 5"))
    assert output.startswith("BadVariable --vars '5': Variables are names with values")


@pytest.mark.parametrize("command", ["build", "run", "seed", "snapshot"])
def test_all_models_without_a_flag_is_refused_and_says_how_to_say_all(
    in_mage: InMage, command: str
) -> None:
    (output,) = in_mage(dbt_block(command, "# nothing is chosen\n--full-refresh"))
    assert output.startswith(
        "BadSelection The flags of this block name no model: dbt "
        f"{command} would then mean all of them. Write which, such as `--select fct_orders+`; for"
    )


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("build", "--select *"),
        ("build", "--exclude tag:slow"),
        ("run", "--selector x"),
        ("test", ""),
    ],
)
def test_all_models_is_what_somebody_wrote(in_mage: InMage, command: str, flags: str) -> None:
    assert in_mage(dbt_block(command, flags)) == [f"{[command, *flags.split()]} {{}} own_dbt"]


def test_patching_again_changes_nothing(mage_python: Path) -> None:
    done = subprocess.run(
        [mage_python, "-m", "mage_dbt.mage.patches"],
        env={"PYTHONPATH": str(CHECKOUT / "custom_blocks" / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_edit_is_made_also_where_several_patches_change_one_file(mage_python: Path) -> None:
    packages = mage_python.parent.parent / "lib"
    (root,) = packages.glob("python*/site-packages/mage_ai")
    assert [patch.file for patch in PATCHES].count("api/resources/PipelineResource.py") > 1
    for patch in PATCHES:
        text = (root / patch.file).read_text()
        missing = [edit.new for edit in patch.edits if edit.new not in text]
        assert not missing, (patch.file, missing)


NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell

code = "from mage_dbt.errors import NotFound; raise NotFound('answer No model.', 'Name it.')"
InteractiveShell.instance().run_cell(code)
"""


def test_a_notebook_shows_a_refusal_without_a_traceback(in_mage: InMage) -> None:
    assert in_mage(NOTEBOOK) == ["No model. Name it."]


TRIGGERS_TOKEN = """
from types import SimpleNamespace
from mage_ai.orchestration.db.models.schedules import PipelineRun

run = SimpleNamespace(pipeline_schedule=SimpleNamespace(token="tweet"))
print("answer", PipelineRun.pipeline_schedule_token.fget(run))
"""


def test_a_pipeline_run_does_not_tell_its_triggers_token(in_mage: InMage) -> None:
    assert in_mage(TRIGGERS_TOKEN) == ["[API_TOKEN_PLACEHOLDER]"]


LATE_IMPORTS = """
import sys

import mage_ai.server.server
from mage_ai.data_preparation.models import utils
from mage_ai.data_preparation.models.block import outputs

print("answer", [name for name in ("sklearn", "scipy.stats") if name in sys.modules])

from sklearn.linear_model import LinearRegression

for module in (utils, outputs):
    print("answer", "LinearRegression" in module.estimator_html_repr(LinearRegression()))
"""


def test_mage_begins_without_scikit_learn_and_shows_its_models(in_mage: InMage) -> None:
    assert in_mage(LATE_IMPORTS) == ["[]", "True", "True"]
