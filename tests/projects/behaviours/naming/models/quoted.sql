{{ config(alias='With Spaces & "quotes"' | replace('"', ''), schema='Mixed') }}
select id as "An Id" from {{ ref('third') }}
