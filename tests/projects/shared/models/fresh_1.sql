{{ config(schema='fresh', post_hook="grant usage on schema {{ this.schema }} to reader") }}
select 1 as a
