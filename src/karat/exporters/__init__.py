"""Exporters: one file each; `name_with_underscores.py` is `name-with-hyphens` in a recipe."""
