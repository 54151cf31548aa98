"""Who somebody is follows from the door; Mage's tokens and sessions open nothing."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    # It believed a token, from a header, a cookie or the address.
    Patch(
        "api/middleware.py",
        "0325410fcc65eb4a5a441233cf55e795fb88c6551e78b24a7dedb5d5f28dbf12",
        (
            Edit(
                "        if self.bypass_oauth_check:\n            return\n\n        api_key =",
                "        from mage_dbt.mage.door import people\n"
                "        people.sign_in(self.request)\n"
                "        return\n\n        api_key =",
            ),
        ),
    ),
    # The same for what it downloads: the token stood in the address.
    Patch(
        "server/api/downloads.py",
        "84137896a18caac8afae3ee54612a540217aa3727ff5b6f91c0e6838b43ce331",
        (
            Edit(
                "        user = None\n        if REQUIRE_USER_AUTHENTICATION:\n",
                "        from mage_dbt.mage.door import people\n"
                "        user = people.user_of(self.request)\n"
                "        if REQUIRE_USER_AUTHENTICATION and user is None:\n",
            ),
        ),
    ),
    # It forgets who begins a run, which a block is told by a variable, and who cancels one.
    Patch(
        "api/resources/PipelineRunResource.py",
        "12685fff26b8596597d4d9e92bfacf3992278a702a6ca1f511b86d96739af833",
        (
            Edit(
                "        pipeline_schedule = kwargs.get('parent_model')\n\n"
                "        repo_path = get_repo_path(user=user)\n",
                "        from mage_dbt.mage.door import people\n"
                "        payload = people.by_hand(payload, user)\n"
                "        pipeline_schedule = kwargs.get('parent_model')\n\n"
                "        repo_path = get_repo_path(user=user)\n",
            ),
            Edit(
                "        elif PipelineRun.PipelineRunStatus.CANCELLED == payload.get('status'):\n",
                "        elif PipelineRun.PipelineRunStatus.CANCELLED == payload.get('status'):\n"
                "            from mage_dbt.mage.door import people\n"
                "            people.cancels(self.model, self.current_user)\n",
            ),
            Edit(
                "            self.model.refresh()\n",
                "            self.model.refresh()\n"
                "            from mage_dbt.mage import triggers\n"
                "            told = triggers.retried(self.model.variables, self.current_user)\n"
                "            self.model.update(variables=told)\n",
            ),
        ),
    ),
    # The same where a run is begun again: its variables, and its trigger, come from the page.
    Patch(
        "api/resources/PipelineResource.py",
        "58e2de0dde392c11a6601f3f285919d25a9c5d41a63dfabe373075715733d9d3",
        (
            Edit(
                "                retry_pipeline_run(run, repo_path)\n",
                "                from mage_dbt.mage.door import people\n"
                "                run = people.by_hand(run, self.current_user)\n"
                "                retry_pipeline_run(run, repo_path)\n",
            ),
        ),
    ),
)
