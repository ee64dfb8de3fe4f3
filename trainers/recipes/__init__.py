"""Recipes: settings of whole runs, a TOML file each, named after it."""
