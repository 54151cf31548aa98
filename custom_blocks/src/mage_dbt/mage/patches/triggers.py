"""A trigger's token, which nobody needs to see, and its name, which proves nothing."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    Patch(
        "orchestration/db/models/schedules.py",
        "8af9d9faebb6f65565173a3035c8ceb57ead7f3de66b419200756d1bc7aa6b83",
        (
            # HIDE_API_TRIGGER_TOKEN hides it in the answers about triggers, not in those about
            # their runs.
            Edit(
                "        return self.pipeline_schedule.token\n",
                "        return '[API_TOKEN_PLACEHOLDER]'\n",
            ),
            # A block is told of its trigger by a name that anybody can give one. See mage/begun.py.
            Edit(
                "        variables.update(extra_variables)\n\n        return variables\n",
                "        variables.update(extra_variables)\n"
                "        from mage_dbt.mage import begun\n"
                "        begun.note(self, variables)\n\n        return variables\n",
            ),
        ),
    ),
)
