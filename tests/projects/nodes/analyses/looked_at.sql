{% if execute %}
{% set n = run_query("select n from public.switches where name = 'analysis'").columns[0].values()[0] %}
{% if n == 0 %}{{ exceptions.raise_compiler_error('the analysis is switched off') }}{% endif %}
{% endif %}
select * from {{ ref('given') }}
