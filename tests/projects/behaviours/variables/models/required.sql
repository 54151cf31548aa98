{{ config(enabled=var('ask', false)) }}
select {{ var('must_be_given') }} as id
