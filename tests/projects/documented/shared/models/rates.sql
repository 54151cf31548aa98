select 'EUR' as currency, {{ rounded('1.0') }} as worth
