"""A trigger's token, which nobody needs to see."""

from mage_dbt.mage.patches.edit import Edit, Patch

PATCHES = (
    # HIDE_API_TRIGGER_TOKEN hides it in the answers about triggers, not in those about their runs.
    Patch(
        "orchestration/db/models/schedules.py",
        "8af9d9faebb6f65565173a3035c8ceb57ead7f3de66b419200756d1bc7aa6b83",
        (
            Edit(
                "        return self.pipeline_schedule.token\n",
                "        return '[API_TOKEN_PLACEHOLDER]'\n",
            ),
        ),
    ),
)
