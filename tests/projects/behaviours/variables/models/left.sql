select 'left' as side
