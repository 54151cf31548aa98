{% set there = adapter.get_relation(this.database, this.schema, 'made_by_hand') %}
{% set before = load_relation(this) %}
{{ config(materialized='table') }}
select '{{ there is not none }}' as there, '{{ before is not none }}' as before,
    '{{ adapter.check_schema_exists(this.database, 'elsewhere') }}' as elsewhere
