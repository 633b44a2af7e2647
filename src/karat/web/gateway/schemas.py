"""Answers of the gateway that must follow a JSON schema, by the rules of a run.

Many models are only told of a schema in their prompt, and answer in prose all the same: whoever
asked for JSON would have to find that out. So an answer that does not fit is asked for once more,
with what is wrong with it, and if that fails too the request fails, with what both tries cost. An
answer that was cut off, or refused, says so by its finish_reason and is passed on as it is.
"""

from __future__ import annotations

import msgspec

from karat.errors import RowError
from karat.models.chat import ChatRequest, Completion
from karat.models.structured import Fitted, check_schema, settle
from karat.together import all_of
from karat.web.gateway.asked import Asked
from karat.web.gateway.door import dumps
from karat.web.gateway.refusals import Refused, cut

TRIES = 2  # of one answer; a client waits for it
PASSED_ON = ("length", "content_filter")


async def fitting(asked: Asked, model: str, request: ChatRequest) -> list[Completion]:
    """The client's answers, each of which is the JSON that `request.schema` asks for, if any.

    Raises: Refused (502, `invalid_model_output`), RecipeError for a schema that is wrong, before
    anything is sent; ProviderError, RunError.
    """
    if request.schema is None:
        return await asked.chat(model, request)
    check_schema(request.schema)

    async def ask(one: ChatRequest) -> list[Completion]:
        return await asked.chat(model, one)

    async def of_one(answer: Completion) -> Completion:
        if answer.finish_reason in PASSED_ON:
            return answer
        return _plain(await settle(ask, request, answer, TRIES))

    try:
        return await all_of(map(of_one, await ask(request)))
    except RowError as error:
        raise Refused(
            502, "api_error", cut(str(error)), code="invalid_model_output", again=False,
            param="response_format",
        ) from None  # fmt: skip


def _plain(answer: Completion) -> Completion:
    """The JSON alone, without what stood around it."""
    if not isinstance(answer, Fitted) or not answer.repairs:
        return answer
    return msgspec.structs.replace(answer, content=dumps(answer.value).decode())
