"""Providers: one wire format of one kind of LLM service, one file each.

A provider's module holds
    check(spec)                 RecipeError when this model cannot be called as asked
    identity(spec) -> str       the model and whatever else decides its answers
    connect(spec) -> Provider   an open connection; see models/client.py for the protocol
"""
