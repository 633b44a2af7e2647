"""Providers: one wire format of one kind of LLM service, one file each.

A provider's module holds
    check(spec)                 RecipeError when this model cannot be called as asked
    identity(spec) -> str       the model and whatever else decides its answers
    connect(spec) -> Provider   an open connection; see models/endpoint.py for the protocol
    width(spec, n) -> int       how many requests of n samples are under way at once
    TOKENS_PER_S                what one answer is assumed to be written at, for plans
    PRICE                       the price where the recipe names none (left out: unknown)
"""
