select '{{ "yes" if var.has_var("feature") else "no" }}' as feature
