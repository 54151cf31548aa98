"""The page that people use: HTML from the runner, with the same values as the API.

`site.py` puts it together. Each file with `_page` has one address, or those of one task.
"""
