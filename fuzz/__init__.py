"""Fuzz targets: each a function of bytes that returns, or raises where karat broke a promise."""
