"""Only operators change the daily build's trigger and the workspace's own pipelines. Mage's roles
cannot tell them from analysts.

`mage/own_pipelines.py` decides. It hears who calls where Mage begins to answer a call of its API.
"""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    Patch(
        "api/views.py",
        "9b3c3956504cfe8333b2d5caa0edaf67b001a97926b7aa85f3e250730304ca71",
        (
            Edit(
                "    request = handler.request\n",
                "    request = handler.request\n"
                "    from mage_dbt.mage import own_pipelines\n"
                "    own_pipelines.asked_by(request)\n",
            ),
        ),
    ),
    Patch(
        "data_preparation/models/file.py",
        "aef2d1d5560fcfd58c5b3a466af0decae28cd4e7af3e149760fb136983c512cc",
        (
            Edit(
                "        file_path_main = os.path.join(repo_path, dir_path, filename)\n",
                "        file_path_main = os.path.join(repo_path, dir_path, filename)\n"
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_content(file_path_main, content)\n",
            ),
            Edit(
                "        os.remove(self.file_path)\n",
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_loss(self.file_path)\n"
                "        os.remove(self.file_path)\n",
            ),
            Edit(
                "        self.create_parent_directories(full_path)\n",
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_loss(self.file_path)\n"
                "        own_pipelines.refuse_loss(full_path)\n"
                "        self.create_parent_directories(full_path)\n",
            ),
        ),
    ),
    Patch(
        "api/resources/FolderResource.py",
        "b917245a705b99ae574faaa47187b7dec6b6ebecba57fb8afbccffb1eab6d370",
        (
            Edit(
                "        return shutil.rmtree(self.path)\n",
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_loss(self.path)\n"
                "        return shutil.rmtree(self.path)\n",
            ),
            Edit(
                "        shutil.move(self.path, path)\n",
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_loss(self.path)\n"
                "        own_pipelines.refuse_loss(path)\n"
                "        shutil.move(self.path, path)\n",
            ),
        ),
    ),
    Patch(
        "data_preparation/models/pipeline.py",
        "877893366ae7060fe6a1c21c3bed036845dcf79693c12039072d559e911d392c",
        (
            Edit(
                "            new_pipeline_uuid = pipeline_config['uuid']\n",
                "            new_pipeline_uuid = pipeline_config['uuid']\n"
                "            from mage_dbt.mage import own_pipelines\n"
                "            own_pipelines.refuse_import(to for _, to in pipeline_files)\n",
            ),
            # The two ways in which Mage writes a pipeline's definition, whatever changed it.
            Edit(
                "        safe_write(self.config_path, content)\n\n        File.create(\n",
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_content(self.config_path, content)\n"
                "        safe_write(self.config_path, content)\n\n        File.create(\n",
            ),
            Edit(
                "        test_path = f'{self.config_path}.test'\n",
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_content(self.config_path, content)\n"
                "        test_path = f'{self.config_path}.test'\n",
            ),
        ),
    ),
    # A block's new name is its file's, before any pipeline is written.
    Patch(
        "data_preparation/models/block/__init__.py",
        "fb288b5e4f9f621e0a15d0b1b04b0f7827b084c1ae541df853d832a11fab2fe8",
        (
            Edit(
                "        old_uuid = self.uuid\n        # This has to be here\n",
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_loss(self.file_path)\n"
                "        old_uuid = self.uuid\n        # This has to be here\n",
            ),
        ),
    ),
    Patch(
        "api/resources/PipelineResource.py",
        "58e2de0dde392c11a6601f3f285919d25a9c5d41a63dfabe373075715733d9d3",
        (
            Edit(
                "        name = payload.get('name')\n",
                "        name = payload.get('name')\n"
                "        from mage_ai.shared.utils import clean_name\n"
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_removal(clean_name(name or ''))\n",
            ),
            Edit(
                "        self.on_delete_callback = _on_delete_callback\n",
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_removal(self.model.uuid)\n"
                "        self.on_delete_callback = _on_delete_callback\n",
            ),
            Edit(
                "        if 'add_upstream_for_block_uuid' in payload:\n",
                "        from mage_dbt.mage import own_pipelines\n"
                "        own_pipelines.refuse_pipeline(self.model.uuid, self.model.name, payload)\n"
                "        if 'add_upstream_for_block_uuid' in payload:\n",
            ),
        ),
    ),
)
