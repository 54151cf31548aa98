"""The block of the pipeline incremental_full_refresh."""

from mage_dbt.mage import blocks

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def incremental_full_refresh(*args, **kwargs):
    return blocks.incremental_full_refresh(kwargs)
