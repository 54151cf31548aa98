{{ config(alias='named_' ~ var('side', 'left')) }} select 1 as id
