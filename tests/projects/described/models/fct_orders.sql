{{ config(materialized="incremental", unique_key="id") }}
-- one row for each order; <script>alert("source")</script> & "quotes"
select id, amount, discount
from {{ ref("stg_orders") }}
{% if is_incremental() %}
where id > (select max(id) from {{ this }})
{% endif %}
