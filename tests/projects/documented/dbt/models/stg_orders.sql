select 1 as id, 'kim@example.com' as mail, '010' as phone, {{ turn(2) }} as amount, 'KR' as country
