"""The block of the pipeline undo_refresh."""

from mage_dbt.mage import blocks

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def undo_refresh(*args, **kwargs):
    return blocks.undo_refresh(kwargs)
