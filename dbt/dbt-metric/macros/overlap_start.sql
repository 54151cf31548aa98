{#
    The point from which an incremental model reads its input again: a few days before the
    newest row it already has. The overlap picks up rows that arrive late; the unique key of
    the model keeps them from being stored twice.
#}
{% macro overlap_start(column_name) -%}
    (
        select coalesce(max({{ column_name }}), timestamp '1900-01-01')
            - interval '{{ var("overlap_days") }} days'
        from {{ this }}
    )
{%- endmacro %}
