"""Loopback servers of scores that answer as NIM, vLLM and SGLang do, their traps included.

Source: the files named in src/karat/rewards/{nim,vllm,sglang}.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment
from toy import BOS, TEMPLATE, RefusalError, ScoreServer, number_of, spoiled, tokens_of

HELPSTEER2 = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


class VllmServer(ScoreServer):
    """vLLM under `--runner pooling`. `knows` is the field by which it is told to leave out the
    activation: use_activation, activation (before 0.11), or "" for one that always applies it;
    `template` is the model's chat template; `doubles`: it adds a BOS to whatever it is sent, also
    to what /tokenize shows unless that is `unseen`; `silent`: it has no /tokenize."""

    serves = ("classify", "pooling", "score", "v1/score", "tokenize")

    def __init__(self, **behaviour: Any) -> None:
        super().__init__(**behaviour)
        self.knows: str = behaviour.get("knows", "use_activation")
        self.doubles: bool = behaviour.get("doubles", False)
        self.regression: bool = behaviour.get("regression", False)
        source = behaviour.get("template", TEMPLATE)
        self.template = Environment().from_string(source) if source else None
        if behaviour.get("generates"):
            self.serves = ("tokenize",)
        if behaviour.get("silent"):
            self.serves = ("classify", "pooling", "score")

    def at_classify(self, body: dict[str, Any]) -> dict[str, Any]:
        scores, used = self._pooled(body)
        data = [
            {
                "index": place, "label": f"LABEL_{values.index(max(values))}", "probs": values,
                "num_classes": len(values),
            }
            for place, values in enumerate(scores)
        ]  # fmt: skip
        return self._reply("classify", body, data, used)

    def at_pooling(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("task") != "classify":
            raise self._refused("pooling_task must be one of ['classify', 'token_classify'].")
        scores, used = self._pooled(body)
        data = [{"index": i, "object": "pooling", "data": v} for i, v in enumerate(scores)]
        return self._reply("pool", body, data, used)

    def at_score(self, body: dict[str, Any]) -> dict[str, Any]:
        first, second = body["text_1"], body["text_2"]
        pairs = [{"role": "user", "content": first}]
        texts = [self._written([*pairs, {"role": "assistant", "content": text}]) for text in second]
        scores, used = self._scored([tokens_of(text, self.doubles) for text in texts], body)
        data = [{"index": i, "object": "score", "score": v[0]} for i, v in enumerate(scores)]
        return self._reply("score", body, data, used)

    at_v1_score = at_score

    def at_tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        (tokens,) = self._cut(body, "prompt")
        strings = {"token_strs": tokens} if body.get("return_token_strs") else {"token_strs": None}
        ids = [number_of(token) for token in tokens]
        return {"count": len(ids), "max_model_len": self.max_len, "tokens": ids, **strings}

    def _pooled(self, body: dict[str, Any]) -> tuple[list[list[float]], int]:
        return self._scored(self._cut(body, "input"), body)

    def _cut(self, body: dict[str, Any], field: str) -> list[list[str]]:
        chat = "messages" in body
        shown = field == "prompt" and self.behaviour.get("unseen")
        special = (self.doubles and not shown) or body.get("add_special_tokens", not chat)
        if chat:
            texts = [self._written(body["messages"])]
        else:
            texts = body[field] if isinstance(body[field], list) else [body[field]]
        return [tokens_of(text, special) for text in texts]

    def _written(self, messages: list[dict[str, str]]) -> str:
        if self.template is None:
            raise self._refused(
                "As of transformers v4.44, default chat template is no longer allowed, so you must "
                "provide a chat template if the tokenizer does not define one."
            )
        return self.template.render(messages=messages, bos_token=BOS)

    def _scored(
        self, sequences: list[list[str]], body: dict[str, Any]
    ) -> tuple[list[list[float]], int]:
        for tokens in sequences:
            if len(tokens) > self.max_len and not self.cuts:
                raise self._refused(too_long(len(tokens), self.max_len))
        used = sum(min(len(tokens), self.max_len) for tokens in sequences)
        raw = self.model_scores(sequences)
        squashed = body.get(self.knows) is not False if self.knows else True
        if not squashed or self.regression:
            return raw, used
        return [activated(values) for values in raw], used

    def _refused(self, said: str) -> RefusalError:
        error = {"message": said, "type": "BadRequestError", "param": None, "code": 400}
        return RefusalError(400, {"error": error})

    def _reply(self, prefix: str, body: dict[str, Any], data: list[Any], used: int) -> Any:
        usage = {
            "prompt_tokens": used, "total_tokens": used, "completion_tokens": 0,
            "prompt_tokens_details": None,
        }  # fmt: skip
        return {
            "id": f"{prefix}-1", "object": "list", "created": int(time.time()),
            "model": body["model"], "data": data, "usage": usage,
        }  # fmt: skip

    def spoil(self, tree: Any, fault: str | None) -> Any:
        if fault == "count":
            tree["data"] = tree["data"] * 2
            for place, item in enumerate(tree["data"]):
                item["index"] = place
        for item in tree.get("data", []):
            if "score" in item:
                (item["score"],) = spoiled([item["score"]], fault) or [None]
            else:
                name = "probs" if "probs" in item else "data"
                item[name] = spoiled(item[name], fault)
        return tree


def too_long(tokens: int, most: int) -> str:
    """vLLM's words."""
    return (
        f"You passed {tokens} input tokens and requested 0 output tokens. However, the model's "
        f"context length is only {most} tokens, resulting in a maximum input length of {most} "
        "tokens. Please reduce the length of the input prompt. (parameter=input_tokens, "
        f"value={tokens})"
    )


def activated(values: list[float]) -> list[float]:
    """Sigmoid of one label, softmax of several."""
    if len(values) == 1:
        return [1 / (1 + math.exp(-values[0]))]
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


class SglangServer(ScoreServer):
    """SGLang under `--is-embedding`: its tokenizer puts a BOS before every text (`adds_bos`);
    `cuts` is --allow-auto-truncate; `generates`: it was started without --is-embedding."""

    serves = ("classify", "v1/classify", "tokenize", "v1/tokenize")

    def __init__(self, **behaviour: Any) -> None:
        super().__init__(**behaviour)
        self.adds_bos: bool = behaviour.get("adds_bos", True)

    def at_classify(self, body: dict[str, Any]) -> Any:
        single = isinstance(body["text"], str)
        sequences = self._cut([body["text"]] if single else body["text"])
        if self.behaviour.get("generates"):
            raise self._refused(
                "This model does not appear to be an embedding model by default. Please add "
                "`--is-embedding` when launching the server or try another model."
            )
        for tokens in sequences:
            if len(tokens) >= self.max_len and not self.cuts:
                raise self._refused(
                    f"The input ({len(tokens)} tokens) is longer than the model's context length "
                    f"({self.max_len} tokens)."
                )
        raw = self.model_scores(sequences)
        items = [
            {
                "embedding": values,
                "meta_info": {
                    "id": f"r{place}", "finish_reason": {"type": "length", "length": 0},
                    "prompt_tokens": min(len(tokens), self.max_len), "e2e_latency": 0.01,
                },
            }
            for place, (values, tokens) in enumerate(zip(raw, sequences, strict=True))
        ]  # fmt: skip
        return items[0] if single else items

    def at_v1_classify(self, body: dict[str, Any]) -> Any:
        """Another address, and a softmax: 1.0 for every text where the head has one output."""
        raw = self.model_scores(self._cut(body["input"]))
        powers = [[math.exp(v - max(values)) for v in values] for values in raw]
        data = [
            {"index": i, "probs": [p / sum(row) for p in row], "label": "LABEL_0"}
            for i, row in enumerate(powers)
        ]
        return {"object": "list", "model": body["model"], "data": data}

    def at_tokenize(self, body: dict[str, Any]) -> Any:
        (tokens,) = self._cut([body["prompt"]])
        ids = [number_of(token) for token in tokens]
        return {"tokens": ids, "count": len(ids), "max_model_len": self.max_len}

    at_v1_tokenize = at_tokenize

    def _cut(self, texts: list[str]) -> list[list[str]]:
        return [tokens_of(text, self.adds_bos) for text in texts]

    def _refused(self, said: str) -> RefusalError:
        return RefusalError(400, {"error": {"message": said}})

    def spoil(self, tree: Any, fault: str | None) -> Any:
        items = tree if isinstance(tree, list) else [tree]
        for item in items:
            if "embedding" in item:
                item["embedding"] = spoiled(item["embedding"], fault)
        return items * 2 if fault == "count" else tree


class NimServer(ScoreServer):
    """A NIM with a reward model. `attributes` are those it scores; `shift` is added to each on its
    scale of 0 to 4, for scores that pass its end; `usage` is False for none."""

    serves = ("v1/chat/completions",)

    def __init__(self, **behaviour: Any) -> None:
        super().__init__(**behaviour)
        self.attributes: Sequence[str] = behaviour.get("attributes", HELPSTEER2)
        source = behaviour.get("template", TEMPLATE)
        self.template = Environment().from_string(source)

    def at_v1_chat_completions(self, body: dict[str, Any]) -> Any:
        allowed = {"model", "messages"}
        if extra := sorted(set(body) - allowed):
            said = f"Reward models take no sampling parameters: {', '.join(extra)}"
            raise RefusalError(422, {"detail": [{"type": "extra_forbidden", "msg": said}]})
        if body["messages"][-1]["role"] != "assistant":
            raise RefusalError(400, {"detail": "The last message must be of the assistant"})
        text = self.template.render(messages=body["messages"], bos_token=BOS)
        tokens = tokens_of(text, False)
        if len(tokens) > self.max_len and not self.cuts:
            said = f"Input of {len(tokens)} tokens exceeds the maximum context of {self.max_len}"
            raise RefusalError(400, {"error": said})
        ((value,),) = self.model_scores([tokens])
        return self._reply(self._pairs(value), len(tokens))

    def _pairs(self, value: float) -> dict[str, float]:
        if list(self.attributes) == ["reward"]:
            return {"reward": value - 12.5}
        shift = self.behaviour.get("shift", 0.0)
        base = dict.fromkeys(self.attributes, 2 + 0.2 * value + shift)
        return {name: round(base[name] - 0.1 * i, 6) for i, name in enumerate(base)}

    def _reply(self, pairs: dict[str, Any], used: int) -> dict[str, Any]:
        return {
            "id": "4668ad22", "object": None, "created": None, "model": None,
            "choices": [{
                "index": 0, "finish_reason": "length",
                "message": [{
                    "role": "assistant", "content": ",".join(f"{k}:{v}" for k, v in pairs.items())
                }],
                "logprobs": {"content": [
                    {"token": k, "logprob": v, "bytes": None, "top_logprobs": []}
                    for k, v in pairs.items()
                ]},
            }],
            "usage": self._usage(used),
        }  # fmt: skip

    def _usage(self, used: int) -> dict[str, int] | None:
        if self.behaviour.get("usage") is False:
            return None
        return {"prompt_tokens": used, "completion_tokens": 1, "total_tokens": used + 1}

    def spoil(self, tree: Any, fault: str | None) -> Any:
        if fault is None:
            return tree
        choice = tree["choices"][0]
        if fault == "count":
            tree["choices"] = [choice, choice]
            return tree
        pairs = {one["token"]: one["logprob"] for one in choice["logprobs"]["content"]}
        names = list(pairs)[:-1] if fault == "missing" else list(pairs)
        values = spoiled(list(pairs.values()), fault)
        return self._reply(dict(zip(names, values, strict=False)), 10)
