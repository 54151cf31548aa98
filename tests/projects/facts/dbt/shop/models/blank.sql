select {{ var ('blank_days', 3) }} as days
