"""Providers: one wire format of one kind of LLM service, one file each.

A provider's module holds
    check(spec)                 RecipeError when this model cannot be called as asked
    connect(spec) -> Provider   an open connection; see models/wire.py for the protocol
    TAKES                       names of the fields of a ChatRequest its format has
    TOKENS_PER_S                what one answer is assumed to be written at, for plans
and where the usual will not do
    identity(spec) -> str       the model and whatever else decides its answers
    width(spec, n) -> int       how many requests of n samples are under way at once
    refusal(spec, request)      in words, what this very model does not take; empty: nothing
    MAX_TEMPERATURE             the hottest its format allows
    COMPLETES                   True where its format has completions of raw text
Modules whose names begin with _ are what several share. Who speaks which format is data:
models/data/services.toml.
"""
