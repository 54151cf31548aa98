{{ config(
    materialized='incremental', unique_key='id',
    indexes=[{'columns': ['day']}],
    post_hook="comment on column {{ this }}.day is 'the day of the order'"
) }}
select id, day, amount, name
from {{ source('raw', 'orders') }}
{% if is_incremental() %}
where id > (select coalesce(max(id), 0) from {{ this }})
{% endif %}
