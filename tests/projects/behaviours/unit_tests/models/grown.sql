{{ config(materialized='incremental', unique_key='id') }}
select id, word from {{ ref('computed') }}
{% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}
