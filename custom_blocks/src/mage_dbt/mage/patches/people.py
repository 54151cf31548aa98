"""The gateway says who somebody is; Mage's tokens and sessions open nothing."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    # Mage believed a token in a header, a cookie or the address.
    Patch(
        "api/middleware.py",
        "0325410fcc65eb4a5a441233cf55e795fb88c6551e78b24a7dedb5d5f28dbf12",
        (
            Edit(
                "        if self.bypass_oauth_check:\n            return\n\n        api_key =",
                "        from mage_dbt.mage.gateway import people\n"
                "        people.sign_in(self.request)\n"
                "        return\n\n        api_key =",
            ),
        ),
    ),
    # The same for downloads: the token was in the address.
    Patch(
        "server/api/downloads.py",
        "84137896a18caac8afae3ee54612a540217aa3727ff5b6f91c0e6838b43ce331",
        (
            Edit(
                "        user = None\n        if REQUIRE_USER_AUTHENTICATION:\n",
                "        from mage_dbt.mage.gateway import people\n"
                "        user = people.user_of(self.request)\n"
                "        if REQUIRE_USER_AUTHENTICATION and user is None:\n",
            ),
        ),
    ),
    # Mage keeps neither who begins a run nor who cancels it. A variable tells the block.
    Patch(
        "api/resources/PipelineRunResource.py",
        "12685fff26b8596597d4d9e92bfacf3992278a702a6ca1f511b86d96739af833",
        (
            Edit(
                "        pipeline_schedule = kwargs.get('parent_model')\n\n"
                "        repo_path = get_repo_path(user=user)\n",
                "        from mage_dbt.mage.pipeline_run import with_caller\n"
                "        payload = with_caller(payload, user)\n"
                "        pipeline_schedule = kwargs.get('parent_model')\n\n"
                "        repo_path = get_repo_path(user=user)\n",
            ),
            Edit(
                "        elif PipelineRun.PipelineRunStatus.CANCELLED == payload.get('status'):\n",
                "        elif PipelineRun.PipelineRunStatus.CANCELLED == payload.get('status'):\n"
                "            from mage_dbt.mage.pipeline_run import record_canceller\n"
                "            record_canceller(self.model, self.current_user)\n",
            ),
            Edit(
                "            self.model.refresh()\n",
                "            self.model.refresh()\n"
                "            from mage_dbt.mage.pipeline_run import with_retrier\n"
                "            self.model.update(variables=with_retrier(\n"
                "                self.model.variables, self.current_user\n"
                "            ))\n",
            ),
        ),
    ),
    # The same where a run is begun again: the page sends its variables and its trigger.
    Patch(
        "api/resources/PipelineResource.py",
        "58e2de0dde392c11a6601f3f285919d25a9c5d41a63dfabe373075715733d9d3",
        (
            Edit(
                "                retry_pipeline_run(run, repo_path)\n",
                "                from mage_dbt.mage.pipeline_run import with_caller\n"
                "                run = with_caller(run, self.current_user)\n"
                "                retry_pipeline_run(run, repo_path)\n",
            ),
        ),
    ),
)
