"""Arithmetic on scores: no models, no files, numpy alone."""
