"""Small changes to the installed Mage, made once when its environment is set up.

`python -m mage_dbt.mage.patches`, run by the Python of Mage's environment, makes them. Each is
written against one version of one file: another version, or a file somebody else has changed, is
refused, so that nobody runs a Mage that was patched by guess. The untouched file is kept beside the
patched one, so that running it again, or with newer patches, gives the same result.

Why each is there stands with it in PATCHES; tests/mage holds the test that fails without it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from mage_dbt.errors import MachineError

VERSION = "0.9.80"
"""The mage-ai that the patches are written for."""

UNTOUCHED = ".untouched"
"""Added to the name of the file as the package brought it."""


@dataclass(frozen=True)
class Edit:
    """`old`, which stands in the file exactly once, becomes `new`."""

    old: str
    new: str


@dataclass(frozen=True)
class Patch:
    """Edits of one file of mage_ai whose bytes have this SHA-256."""

    file: str
    sha256: str
    edits: tuple[Edit, ...]


DBT = "data_preparation/models/block/dbt"

PATCHES = (
    # A job put into the queue while the worker pool was about to end stayed there, "exists. Skip
    # enqueue", and its block Queued for ever, until another job came. The scheduler calls
    # clean_up_jobs at every turn.
    Patch(
        "orchestration/queue/process_queue.py",
        "c65f62ee396056c2f5f10c10b9a4fdba111d723dec20ae2aa4a6e99fbcc8b97d",
        (
            Edit(
                "        job_ids = self.job_dict.keys()\n"
                "        for job_id in job_ids:\n"
                "            if job_id in self.job_dict:\n"
                "                if not self.has_job(job_id):\n",
                "        if not self.queue.empty() and not self.is_worker_pool_alive():\n"
                "            self.start_worker_pool()\n"
                "        job_ids = self.job_dict.keys()\n"
                "        for job_id in job_ids:\n"
                "            if job_id in self.job_dict:\n"
                "                if not self.has_job(job_id):\n",
            ),
        ),
    ),
    # dbt is not in Mage's environment. Its dbt blocks hand their command to the runner, or say why
    # they cannot.
    Patch(
        f"{DBT}/block_yaml.py",
        "9fcc1a834ec5d3e28275664bfd7c3eab50a1eeaf31217333d85f6ce19c470f27",
        (
            Edit(
                "        task = self._dbt_configuration.get('command', 'run')\n\n"
                "        # Get variables\n"
                "        variables = merge_dict(global_vars, runtime_arguments or {})\n\n"
                "        content = self.content or ''\n"
                "        content = self.interpolate_content(\n"
                "            content,\n"
                "            outputs_from_input_vars=outputs_from_input_vars,\n"
                "            variables=variables,\n"
                "            **kwargs,\n"
                "        )\n",
                "        task = self._dbt_configuration.get('command', 'run')\n\n"
                "        # Get variables\n"
                "        variables = merge_dict(global_vars, runtime_arguments or {})\n\n"
                "        content = self.content or ''\n"
                "        content = self.interpolate_content(\n"
                "            content,\n"
                "            outputs_from_input_vars=outputs_from_input_vars,\n"
                "            variables=variables,\n"
                "            **kwargs,\n"
                "        )\n"
                "        from mage_dbt.mage import dbt_block\n"
                "        return [dbt_block.run(task, content, variables)]\n",
            ),
        ),
    ),
    Patch(
        "api/resources/BlockResource.py",
        "c0f14073a4388fbb2bbc1909804d921bca2f348ffb7266ee24c3715a94b46493",
        (
            Edit(
                "        payload_config = payload.get('config') or {}\n"
                "        replicated_block = None\n",
                "        if block_type == BlockType.DBT and language == BlockLanguage.SQL:\n"
                "            from mage_dbt.mage import dbt_block\n"
                "            dbt_block.refuse_model_block(block_name)\n"
                "        payload_config = payload.get('config') or {}\n"
                "        replicated_block = None\n",
            ),
        ),
    ),
    Patch(
        f"{DBT}/block_sql.py",
        "d9188e1167c2253633175a7921c48af634d8aebdd4dc34c6e5a23ff998a465ed",
        (
            Edit(
                "        # Create upstream tables\n        self.__create_upstream_tables(\n",
                "        from mage_dbt.mage import dbt_block\n"
                "        dbt_block.refuse_model_block(Path(self.file_path or self.uuid).stem)\n"
                "        # Create upstream tables\n        self.__create_upstream_tables(\n",
            ),
            Edit(
                "        limit = limit or self.configuration.get('limit', 1000)\n\n"
                "        args = [\n",
                "        from mage_dbt.mage import dbt_block\n"
                "        dbt_block.refuse_model_block(Path(self.file_path or self.uuid).stem)\n"
                "        limit = limit or self.configuration.get('limit', 1000)\n\n"
                "        args = [\n",
            ),
        ),
    ),
    Patch(
        f"{DBT}/block.py",
        "d124f44356fc43a71cd8dd1913dd877746e26da42973e6fa08401cbd4f6c4a65",
        (
            # It writes a sources file into the dbt project for blocks that feed a dbt block.
            Edit(
                "        # only run if blocks_by_uuid is not empty\n",
                "        return\n        # only run if blocks_by_uuid is not empty\n",
            ),
            # It kept what a dbt block prints out of Mage's log.
            Edit(
                "    @contextmanager\n    def _redirect_streams(\n        self,\n        **kwargs\n"
                "    ) -> Generator[None, None, None]:\n        yield (None, None)\n\n",
                "",
            ),
        ),
    ),
    Patch(
        f"{DBT}/dbt_cli.py",
        "a21583fba40dae0e2259d4e4e05ca6d8ce3714ad4703241ee45f3ebac32ba070",
        (
            Edit(
                "from dbt.cli.main import dbtRunner, dbtRunnerResult\n",
                "dbtRunner = dbtRunnerResult = object\n",
            ),
            Edit(
                "        dbt = dbtRunner(\n",
                "        from mage_dbt.mage import dbt_block\n"
                "        dbt_block.refuse_cli(cli_args)\n"
                "        dbt = dbtRunner(\n",
            ),
        ),
    ),
    Patch(
        f"{DBT}/dbt_adapter.py",
        "7c42af52dee929c8abbf1bd6041969789c65b71f34bea420966345acfcbcd834",
        (
            Edit(
                "import dbt.flags as flags\nimport pandas as pd\n"
                "from dbt.adapters.base.relation import BaseRelation\n"
                "from dbt.adapters.contracts.connection import AdapterResponse, Credentials\n"
                "from dbt.adapters.contracts.relation import RelationType\n"
                "from dbt.adapters.factory import (\n"
                "    Adapter,\n"
                "    cleanup_connections,\n"
                "    get_adapter,\n"
                "    register_adapter,\n"
                "    reset_adapters,\n"
                ")\n"
                "from dbt.config.project import read_project_flags\n"
                "from dbt.config.runtime import RuntimeConfig\n"
                "from dbt.context.providers import generate_runtime_macro_context\n"
                "from dbt.mp_context import get_mp_context\n",
                "import pandas as pd\n\n"
                "AdapterResponse = Adapter = BaseRelation = Credentials = RelationType = object\n",
            ),
            Edit(
                "        type: Optional[RelationType] = RelationType.Table\n",
                "        type: Optional[RelationType] = None\n",
            ),
            Edit(
                "        self.project_path: Union[str, os.PathLike] = project_path\n",
                "        from mage_dbt.mage import dbt_block\n"
                "        dbt_block.refuse_cli(['adapter'])\n"
                "        self.project_path: Union[str, os.PathLike] = project_path\n",
            ),
        ),
    ),
)


def apply() -> list[str]:
    """Patches the mage_ai of this Python; returns the files it wrote (none when all was done).

    Raises MachineError for another version of Mage or a file that is not the one expected.
    """
    version = importlib.metadata.version("mage-ai")
    if version != VERSION:
        raise MachineError(
            f"The patches are for mage-ai {VERSION}; this environment has {version}.",
            "Check each of them against the new version, then change VERSION and the checksums.",
        )
    spec = importlib.util.find_spec("mage_ai")
    if spec is None or spec.origin is None:
        raise MachineError("mage_ai is not where Python looks for it.")
    root = Path(spec.origin).parent
    changed = [(root / patch.file, _patched(root / patch.file, patch)) for patch in PATCHES]
    written = []
    for path, text in changed:
        if path.read_text() != text:
            _replace(path, text)
            written.append(str(path.relative_to(root)))
    return written


def _patched(path: Path, patch: Patch) -> str:
    untouched = path.with_name(path.name + UNTOUCHED)
    source = untouched if untouched.exists() else path
    data = source.read_bytes()
    if hashlib.sha256(data).hexdigest() != patch.sha256:
        raise MachineError(
            f"{source} is not the file that mage-ai {VERSION} brings.",
            "Delete Mage's environment and start again: it is made anew.",
        )
    if source is path:
        _replace(untouched, data.decode())
    text = data.decode()
    for edit in patch.edits:
        if text.count(edit.old) != 1:
            raise MachineError(f"A patch of {path} does not fit.", f"It begins {edit.old[:60]!r}.")
        text = text.replace(edit.old, edit.new)
    compile(text, str(path), "exec")
    return text


def _replace(path: Path, text: str) -> None:
    """Renames over: an environment may share its files with others by hard links."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(text)
    aside.replace(path)
