"""Curation: pure algorithms over texts that the table steps call; no file, no model."""
