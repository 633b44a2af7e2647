"""Verifiers: one file each; checks of a response that need no model."""
