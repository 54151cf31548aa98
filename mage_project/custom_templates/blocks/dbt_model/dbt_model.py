from mage_dbt.mage import blocks

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def dbt_model(*args, **kwargs):
    # The models to build: a name, name+ (also what reads it), +name (also what it reads), tag:x.
    return blocks.dbt_model(kwargs, select="my_model")
