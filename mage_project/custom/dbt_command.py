"""The block of the pipeline dbt_command."""

from mage_dbt.mage import blocks

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def dbt_command(*args, **kwargs):
    return blocks.dbt_command(kwargs)
