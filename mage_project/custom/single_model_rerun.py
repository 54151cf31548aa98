"""The block of the pipeline single_model_rerun."""

from mage_dbt.mage import blocks

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def single_model_rerun(*args, **kwargs):
    return blocks.single_model_rerun(kwargs)
