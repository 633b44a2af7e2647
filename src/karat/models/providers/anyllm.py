"""The long tail: services without an entry in karat's table, by way of the any-llm library.

`anyllm/SERVICE/MODEL`, for example anyllm/bedrock/us.amazon.nova-lite-v1:0 or
anyllm/watsonx/ibm/granite-4. The format is OpenAI's, over a transport that calls the library. Keys
are where the library looks for them, or in `key_env`. Where a vendor's SDK retries and cannot be
told not to (watsonx), its retries are within one of karat's.
"""

from __future__ import annotations

from karat.errors import RecipeError
from karat.models.chat import ChatRequest
from karat.models.longtail import AnyLLMTransport, open_service
from karat.models.providers._http import key_of
from karat.models.providers.openai import OpenAI
from karat.models.spec import ModelSpec
from karat.models.takes import service_of

TAKES = tuple(f for f in ChatRequest.__struct_fields__ if f not in ("top_k", "min_p"))
TOKENS_PER_S = 40.0  # a middling hosted model


def check(spec: ModelSpec) -> None:
    """Raises: RecipeError when any-llm is not installed or could not call the model."""
    service, slash, model = spec.name.partition("/")
    if not slash or not model:
        raise RecipeError(f"model '{spec.model}': write anyllm/SERVICE/MODEL")
    open_service(service, key_of(spec, service_of(spec)), spec.base_url)


def connect(spec: ModelSpec) -> OpenAI:
    service = service_of(spec)
    name, key = spec.name.partition("/")[0], key_of(spec, service)
    slots = spec.concurrency or service.concurrency
    return OpenAI(spec, AnyLLMTransport(name, key, spec.base_url), slots, f"anyllm:{name}", key)
