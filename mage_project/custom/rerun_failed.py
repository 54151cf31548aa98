"""The block of the pipeline rerun_failed."""

from mage_dbt.mage import blocks

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def rerun_failed(*args, **kwargs):
    return blocks.rerun_failed(kwargs)
