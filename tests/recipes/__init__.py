"""A package, so that a recipe's tests may be named as a step's."""
