select {{ function('doubled') }}(4) as eight
