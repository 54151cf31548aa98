select '{{ env_var('PLACE', 'nowhere') }}' as place, '{{ setting() }}' as by_macro
