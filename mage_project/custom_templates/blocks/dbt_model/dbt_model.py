from mage_dbt import blocks

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def dbt_model(*args, **kwargs):
    # Which models: a name; name+ is it and all that reads it, +name it and all it reads; tag:x.
    return blocks.dbt_model(kwargs, select="my_model")
