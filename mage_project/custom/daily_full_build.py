"""The block of the pipeline daily_full_build."""

from mage_dbt.mage import blocks

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def daily_full_build(*args, **kwargs):
    return blocks.daily_full_build(kwargs)
