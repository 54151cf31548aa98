select '{{ env_var('NOT_THERE') if env_var('STRICT', 'no') == 'yes' else 'unasked' }}' as never
