"""Mage's own dbt blocks send their commands to the runner."""

from mage_dbt.mage.patches.edit import Edit, Patch

DBT = "data_preparation/models/block/dbt"

PATCHES = (
    # Mage's environment has no dbt. Its dbt blocks send their command to the runner, or say why
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
            # Mage writes a sources file into the dbt project for blocks that feed a dbt block.
            Edit(
                "        # only run if blocks_by_uuid is not empty\n",
                "        return\n        # only run if blocks_by_uuid is not empty\n",
            ),
            # Mage kept what a dbt block prints out of its log.
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
