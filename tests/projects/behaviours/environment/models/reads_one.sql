select * from {{ ref('compiled') if env_var('MORE', 'no') == 'yes' else ref('late') }}
