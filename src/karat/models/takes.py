"""What a model takes, asked before anything is spent.

A parameter that a model does not take is refused in words or translated as written here; it is
never dropped in silence. The translations are:
    n           a request a sample, where a service takes one only
    seed        karat's own; not sent where a service takes none: samples differ by themselves
    max_tokens  max_completion_tokens, max_output_tokens …, where a service calls it so
    schema      written into the prompt, where the service or the model has no field for it
    system      a field of its own, where a format has no such message
    reasoning   on or off, where a model knows no efforts between; the service maps them
"""

from __future__ import annotations

from typing import Any

import msgspec

from karat.errors import did_you_mean
from karat.models import catalogue
from karat.models.chat import EFFORTS, ChatRequest
from karat.models.services import COMPATIBLE, Service, shipped
from karat.models.spec import ModelSpec, load_wire

TRANSLATED = ("messages", "n", "seed")
NOT_SAID = ChatRequest(())
SAMPLING = ("temperature", "top_p")


def service_of(spec: ModelSpec) -> Service:
    """The service whose quirks apply, with what is known of the model."""
    service = spec.offered_by()
    card = None if service is COMPATIBLE else catalogue.card(spec.provider, spec.name)
    if card is not None and card.structured_output is False:
        return msgspec.structs.replace(service, schema="prompt")
    return service


def refusals(spec: ModelSpec, request: ChatRequest) -> list[str]:
    """What the model does not take of the request, each as a sentence; empty: all is well."""
    service, wire = service_of(spec), load_wire(spec.format)
    refused: dict[str, str] = {}
    for name in ChatRequest.__struct_fields__:
        if name in TRANSLATED or getattr(request, name) == getattr(NOT_SAID, name):
            continue
        if name not in wire.TAKES or name in service.refuses:
            refused[name] = f"takes no {name}; leave it out"
        elif name == "reasoning" and service.reasoning == "none":
            refused[name] = "takes no reasoning; leave it out"
    for name in service.thinking_refuses:
        if getattr(request, name) != getattr(NOT_SAID, name) and (how := _thinks(spec, request)):
            refused.setdefault(name, f"takes no {name} while it thinks; {how}")
    own = getattr(wire, "refusal", None)  # a format that knows its models by itself
    for name, words in _by_card(spec, service, request) if own is None else ():
        refused.setdefault(name, words)
    for name, words in _too_much(service, wire, request):
        refused.setdefault(name, words)
    if request.reasoning not in (None, *EFFORTS):
        known = did_you_mean(str(request.reasoning), EFFORTS)
        refused.setdefault("reasoning", f"takes no reasoning '{request.reasoning}'; {known}")
    if request.tool_choice and not request.tools:
        refused.setdefault("tool_choice", "was given a tool_choice and no tools; leave it out")
    if spec.stream and request.logprobs is not None:
        refused.setdefault("logprobs", "says no logprobs in a stream; leave out stream or logprobs")
    said = [f"{spec.model} {words}" for words in refused.values()]
    more = own(spec, request) if own is not None and not said else ""
    return [*said, more] if more else said


def cannot_complete(spec: ModelSpec) -> str:
    """Why the model cannot be asked how a raw text goes on; empty where it can."""
    service = spec.offered_by()
    wire = load_wire(spec.format)
    if service.completions and getattr(wire, "COMPLETES", False):
        return ""
    known = ", ".join(name for name, other in shipped().items() if other.completions)
    said = f"{spec.model}: no completion of raw text that karat can reach; {known} have it"
    if service.completions or spec.service is None:
        return said
    return f"{said}. If {spec.provider} has, say completions: /completions under providers"


def _thinks(spec: ModelSpec, request: ChatRequest) -> str:
    """What to do about a model that would think; empty for one that would not."""
    if request.reasoning is not None:
        return "" if request.reasoning == "none" else "leave out one of the two"
    card = catalogue.card(spec.provider, spec.name)
    if not spec.offered_by().thinks_unasked or (card is not None and card.reasoning is False):
        return ""
    return "say reasoning: none, or leave it out"


def _by_card(spec: ModelSpec, service: Service, request: ChatRequest) -> list[tuple[str, str]]:
    """What the catalogue knows that the model does not take; nothing for a server of one's own."""
    card = None if service is COMPATIBLE else catalogue.card(spec.provider, spec.name)
    if card is None:
        return []
    names: list[str] = []
    if card.temperature is False:
        names += [name for name in SAMPLING if getattr(request, name) is not None]
    if card.reasoning is False and request.reasoning is not None:
        names.append("reasoning")
    if card.tools is False and request.tools:
        names.append("tools")
    return [(name, f"takes no {name}; leave it out") for name in names]


def _too_much(service: Service, wire: Any, request: ChatRequest) -> list[tuple[str, str]]:
    hottest = min(service.max_temperature, getattr(wire, "MAX_TEMPERATURE", 2.0))
    found: list[tuple[str, str]] = []
    if request.temperature is not None and request.temperature > hottest:
        found.append(("temperature", f"takes a temperature of at most {hottest:g}"))
    if service.max_stop is not None and len(request.stop) > service.max_stop:
        found.append(("stop", f"takes at most {service.max_stop} stop sequences"))
    if service.max_logprobs is not None and (request.logprobs or 0) > service.max_logprobs:
        found.append(("logprobs", f"takes at most {service.max_logprobs} logprobs"))
    return found
