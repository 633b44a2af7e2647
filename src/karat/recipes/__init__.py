"""Recipes karat ships: YAML files by their names, the ones with a loop as Python modules."""
