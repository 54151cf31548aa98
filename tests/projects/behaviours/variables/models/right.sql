select 'right' as side
