"""Every target by its name: what it runs, the words it is fed, where its seeds lie.

A target is a function of bytes. It returns where karat kept its promises: a value of the stated
type, or an error of karat's own tree that the parser's docstring names. Anything else is a find.
The tests run the same functions on the seeds and on random bytes; atheris looks for what they miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fuzz import clients, files, graded, texts, wires

HERE = Path(__file__).parent
RECORDED = HERE.parent / "tests" / "models" / "wires"
SECONDS = 10  # CPU time of one input; what takes longer is a find as well


class Target(NamedTuple):
    """`words` are put into inputs, `most` is the longest input in bytes, `also` more seeds."""

    run: Callable[[bytes], None]
    words: str
    most: int = 16_384
    also: str = ""


JSON = '{ } [ ] : , " null true false 1e999 NaN -1 0 \\ud83d'
CHAT = """"choices" "message" "content" "finish_reason" "usage" "prompt_tokens" "logprobs" "token"
"logprob" "top_logprobs" "tool_calls" "function" "arguments" "error" "code" "output" "type"
"output_text" "delta" "content_block" "index" "candidates" "parts" "functionCall" "usageMetadata"
"id" "name" "input" "text" "thinking" "<think>" "</think>" "status" "summary" "call_id" "cost"
"""
TARGETS: dict[str, Target] = {
    "recipe": Target(
        files.recipe,
        "name: seed: models: rewards: steps: export: budget_usd: providers: exactly: - read path "
        "respond grade reject topics prompts & * << !!bool !!float !!int !!omap !!pairs !!set "
        "!!binary !!timestamp !!null ? | > ' \" { } [ ] %TAG --- ... 0x 0o .nan .inf ~",
        8192,
    ),
    "lists": Target(
        texts.lists,
        "1. 2) (3) Q1. Q: A: - * • a) ** __ [ ] { } \" ``` Topic Passage: Question: following: , "
        "、 # > \\ and",
    ),
    "answer": Target(wires.answered, f"{JSON} {CHAT}", also="*/*.json"),
    "stream": Target(
        wires.streamed,
        f"{JSON} {CHAT} data: event: [DONE] \r response.output_text.delta response.completed "
        "content_block_delta content_block_start message_start text_delta message_delta",
        also="*/*.sse",
    ),
    "asked": Target(
        wires.asked,
        f'{JSON} "data" "embedding" "embeddings" "values" "index" "results" "relevance_score" '
        '"rankings" "logit" "answers" "probabilities" "value" "meta" AACAPw==',
    ),
    "batch": Target(
        wires.batched,
        f'{JSON} "id" "status" "completed" "custom_id" "response" "status_code" "body" "result" '
        '"succeeded" "errored" "message" "request_counts" "processing" "processing_status" "ended" '
        '"data" "has_more" "last_id" "created_at" "metadata" "karat" "errors" "output_file_id" '
        '"input_file_id"',
    ),
    "headers": Target(
        wires.headers,
        "retry-after: retry-after-ms: ratelimit: x-ratelimit-remaining-requests: "
        "x-ratelimit-reset-requests: ratelimit-remaining: ratelimit-reset: ;r= ;t= 6m0s 20ms "
        '2026-01-01T00:00:00Z inf 1e400 "retryDelay":"3s"',
        4096,
    ),
    "scores": Target(
        graded.scored,
        f'{JSON} "choices" "logprobs" "content" "token" "logprob" "helpfulness" "reward" "data" '
        '"probs" "score" "index" "embedding" "tokens" "max_model_len" "message" '
        "helpfulness:3.5,correctness:4,coherence:4,complexity:2,verbosity:1",
    ),
    "judge": Target(
        texts.judged,
        f"{JSON} \"helpfulness\" \"better\" \"reasoning\" ``` ```json ' True None </think> <think> "
        r"\boxed{ [The Begin of Individual Scores] [The End [The Begin of Ranking Score] "
        '"score_1" "score_2" "ranking" Final Judgement: Yes No **',
    ),
    "records": Target(
        files.records,
        f'{JSON} "prompt" "messages" "role" "user" "assistant" "content" "chosen" "rejected" '
        '"responses" "scores" "meta" "source" "id" "calls" "dropped" "failed" "conversations" '
        '"from" "value" "instruction" "output" <extra_id_1> Human: Assistant: \n , \t',
    ),
    "parquet": Target(files.parquet, "PAR1 ARROW:schema prompt response", 65_536),
    "shown": Target(
        texts.shown, "{{ }} {% %} {# #} ''.__class__ # --- user --- assistant end of", 8192
    ),
    "template": Target(
        texts.templated,
        "{{ }} {% %} {# #} for in endfor range( 10**9 'a'* ~ + % | join replace center( indent "
        "format .__class__ .__mro__ .__subclasses__() __globals__ cycler lipsum( namespace( set "
        "endset macro endmacro call messages loop( recursive text items ['content'] tojson "
        "raise_exception( break continue generation endgeneration import include extends attr( ",
        4096,
    ),
    "bodies": Target(
        clients.bodies,
        f'{JSON} "model" "messages" "role" "user" "content" "type" "text" "tools" "tool_choice" '
        '"response_format" "max_tokens" "system" "tool_use" "tool_result" "input_schema" "stop" '
        '"thinking" "budget_tokens"',
    ),
    "names": Target(
        clients.names,
        "../ ..\\ %2e%2e %00 \0 CON NUL aux. file:// s3:// http:// https:// @ ? # [::1] :99999 ~ "
        "\u202e é \ud800".encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass"),
        1024,
    ),
}  # fmt: skip


def words(target: Target) -> list[bytes]:
    """The words of a target's dictionary."""
    return [word.encode("utf-8", "surrogatepass") for word in target.words.split() if word]


def dictionary(target: Target) -> str:
    """The same as libFuzzer reads a dictionary: one quoted word a line."""
    signs = {ord("\\"): "\\\\", ord('"'): '\\"'}
    lines = [
        "".join(signs.get(b, chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in word)
        for word in words(target)
    ]
    return "".join(f'"{line}"\n' for line in lines)


def seeds(name: str) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes) of the committed seeds: the target's own, and recorded answers."""
    found = sorted((HERE / "seeds" / name).glob("*"))
    if TARGETS[name].also:
        found += sorted(RECORDED.glob(TARGETS[name].also))
    for path in found:
        if path.is_file():
            yield path.name, path.read_bytes()[: TARGETS[name].most]
