"""A LoRA adapter on an embedded model: the numbers of PEFT, an identity of its own, same bytes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from later import later
from tiny_gguf import tiny_adapter, tiny_gguf, turned

from karat.errors import RecipeError, RunError
from karat.models.adapters import CONVERTED, WEIGHTS, Adapter, converted, permuted, read_safetensors
from karat.models.embedded import EmbeddedTransport, available
from karat.models.gguf_files import LocalFile, head
from karat.models.spec import parse_model
from karat.recipe import Recipe

later("peft", "gguf")
pytestmark = [
    pytest.mark.skipif(available() is not None, reason=str(available())),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]
HELLO = [{"role": "user", "content": "hello there"}]


class Tiny(NamedTuple):
    folder: Path
    file: Path
    adapter: Path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    place = tmp_path_factory.mktemp("tiny")
    folder, file = tiny_gguf(place)
    return Tiny(folder, file, tiny_adapter(place / "adapter", folder))


@pytest.fixture(scope="module")
def student(tiny: Tiny) -> Iterator[EmbeddedTransport]:
    transport = EmbeddedTransport(str(tiny.file), adapter=str(tiny.adapter))
    yield transport
    asyncio.run(transport.close())


async def ask(transport: EmbeddedTransport, **fields: Any) -> list[dict[str, Any]]:
    asked = {"messages": HELLO, "max_tokens": 10, "temperature": 0, "logprobs": True, **fields}
    reply = await transport.post("embedded:/chat/completions", json.dumps(asked).encode(), {}, 60)
    assert reply.status == 200, reply.body
    choices: list[dict[str, Any]] = json.loads(reply.body)["choices"]
    return choices


def log_probabilities(folder: Path, adapter: Path | None, tokens: int) -> list[float]:
    """Of the likeliest token at each place, by transformers and PEFT: the oracle."""
    import peft
    import torch
    import transformers

    model = transformers.LlamaForCausalLM.from_pretrained(folder)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(HELLO, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, return_tensors="pt").input_ids
    found = []
    with torch.inference_mode():
        for _ in range(tokens):
            log_p = model(input_ids=ids).logits[0, -1].log_softmax(-1)
            best = int(log_p.argmax())
            if best == tokenizer.eos_token_id:
                break
            found.append(float(log_p[best]))
            ids = torch.cat([ids, torch.tensor([[best]])], 1)
    return found


def test_it_writes_what_peft_writes(tiny: Tiny, student: EmbeddedTransport) -> None:
    (choice,) = asyncio.run(ask(student, max_tokens=1))
    with_it = choice["logprobs"]["content"][0]["logprob"]
    theirs, without = (log_probabilities(tiny.folder, a, 1)[0] for a in (tiny.adapter, None))
    assert with_it == pytest.approx(theirs, abs=0.02)
    assert abs(theirs - without) > 0.1  # or the test would say nothing


def test_every_token_is_as_likely(tiny: Tiny, student: EmbeddedTransport) -> None:
    """One token a byte, of which llama.cpp's answer shows those that end a character."""
    (choice,) = asyncio.run(ask(student))
    theirs = log_probabilities(tiny.folder, tiny.adapter, 10)
    ours = [entry["logprob"] for entry in choice["logprobs"]["content"]]
    assert len(ours) >= 5
    left = iter(theirs)
    assert all(any(abs(p - q) < 0.03 for q in left) for p in ours)


def test_rslora_is_scaled_by_the_root_of_its_rank(tiny: Tiny, tmp_path: Path) -> None:
    made = tiny_adapter(tmp_path / "rs", tiny.folder, use_rslora=True)
    transport = EmbeddedTransport(str(tiny.file), adapter=str(made))
    (choice,) = asyncio.run(ask(transport, max_tokens=1))
    asyncio.run(transport.close())
    (theirs,) = log_probabilities(tiny.folder, made, 1)
    assert choice["logprobs"]["content"][0]["logprob"] == pytest.approx(theirs, abs=0.02)


@pytest.mark.parametrize("quantised", [True, False])
def test_same_bytes_at_any_concurrency(tiny: Tiny, tmp_path: Path, quantised: bool) -> None:
    """Of float matrices because a request has a server to itself, of Q8_0 though it has not."""
    file = tiny_gguf(tmp_path, quantised=True)[1] if quantised else tiny.file
    student = EmbeddedTransport(str(file), adapter=str(tiny.adapter))
    requests = [
        {
            "messages": [{"role": "user", "content": "why " * length}],
            "seed": 100 * length,
            "temperature": 1.0,
            "n": 4 if length % 5 == 0 else 1,
        }
        for length in (1, 2, 5, 13, 15, 16, 17, 40)
    ]

    async def at(width: int, order: list[dict[str, Any]]) -> list[Any]:
        turn = asyncio.Semaphore(width)

        async def one(fields: dict[str, Any]) -> Any:
            async with turn:
                return await ask(student, **fields)

        return await asyncio.gather(*(one(fields) for fields in order))

    alone, together = asyncio.run(at(1, requests)), asyncio.run(at(8, requests[::-1]))[::-1]
    assert all(server.exact is quantised for server in student._servers)
    asyncio.run(student.close())
    assert [a == b for a, b in zip(alone, together, strict=True)] == [True] * len(requests)


@pytest.mark.parametrize(("rows", "heads"), [(64, 4), (32, 2), (576, 9), (192, 3)])
def test_rows_are_turned_as_transformers_turns_them_back(rows: int, heads: int) -> None:
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    matrix = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    ours = permuted(matrix, heads)
    assert np.array_equal(ours, turned(matrix, heads))
    back = LlamaTensorProcessor()._reverse_permute_weights(ours, heads, heads)
    assert np.array_equal(back, matrix)


def test_weights_are_read_as_safetensors_reads_them(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    kept = {"a": torch.randn(3, 4), "b": torch.randn(2, 5).bfloat16(), "c": torch.randn(6).half()}
    save_file(kept, tmp_path / "x.safetensors")
    found = read_safetensors(tmp_path / "x.safetensors")
    assert found.keys() == kept.keys()
    for name, tensor in kept.items():
        assert np.array_equal(found[name], tensor.float().numpy())
    for damaged in (b"hello", b"[1]"):
        (tmp_path / "x.safetensors").write_bytes(len(damaged).to_bytes(8, "little") + damaged)
        with pytest.raises(ValueError, match=r"damaged|sequence"):
            read_safetensors(tmp_path / "x.safetensors")


def test_its_identity_is_what_was_trained(tiny: Tiny, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny.adapter, tmp_path / "moved")
    other = tiny_adapter(tmp_path / "other", tiny.folder, seed=2)
    louder = tmp_path / "louder"
    shutil.copytree(tiny.adapter, louder)
    config = json.loads((louder / "adapter_config.json").read_text())
    (louder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 16}))
    base = f"embedded/{tiny.file}"
    found = [
        parse_model({"model": base, "adapter": str(path)} if path else base).identity()
        for path in (None, tiny.adapter, moved, other, louder)
    ]
    assert found[1] == found[2]
    assert len(set(found)) == 4
    assert all("tiny.gguf@" in one and str(tmp_path) not in one for one in found)


def test_it_is_converted_once_and_again_where_it_is_not_whole(tiny: Tiny, tmp_path: Path) -> None:
    adapter = Adapter(shutil.copytree(tiny.adapter, tmp_path / "a"))
    (adapter.path / CONVERTED).unlink(missing_ok=True)
    made = adapter.file(tiny.file)
    first = made.read_bytes()
    stamp = made.stat().st_mtime_ns
    assert adapter.file(tiny.file) == made
    assert made.stat().st_mtime_ns == stamp
    made.write_bytes(first[:100])
    assert adapter.file(tiny.file).read_bytes() == first
    assert head(made)["adapter.lora.alpha"] == 8 * 32 / 4  # the rank is filled up to a block
    assert sorted(p.name for p in adapter.path.iterdir() if p.name.startswith(".")) == []
    other = tiny_adapter(tmp_path / "b", tiny.folder, seed=3)
    shutil.copy(other / WEIGHTS, adapter.path / WEIGHTS)
    assert Adapter(adapter.path).file(tiny.file).read_bytes() != first


def test_what_llama_cpp_has_no_form_for_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    made = shutil.copytree(tiny.adapter, tmp_path / "a")
    config = json.loads((made / "adapter_config.json").read_text())
    for key, value in (("use_dora", True), ("bias", "all"), ("modules_to_save", ["lm_head"])):
        (made / "adapter_config.json").write_text(json.dumps({**config, key: value}))
        with pytest.raises(RecipeError, match=key):
            Adapter(made)
    for begun in ("pissa", "pissa_niter_4", "OLoRA", "corda", "loftq"):
        changed = {**config, "init_lora_weights": begun}
        (made / "adapter_config.json").write_text(json.dumps(changed))
        with pytest.raises(RecipeError, match="changes the base's weights too"):
            Adapter(made)
    (made / "adapter_config.json").write_text(json.dumps({**config, "init_lora_weights": "eva"}))
    assert Adapter(made)
    (made / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "IA3"}))
    with pytest.raises(RecipeError, match="LoRA only"):
        Adapter(made)
    (made / WEIGHTS).unlink()
    with pytest.raises(RecipeError, match="no adapter_model"):
        Adapter(made)


def test_an_adapter_of_another_model_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    shape = head(tiny.file)
    with pytest.raises(ValueError, match="trained on another model"):
        converted({"model.layers.0.self_attn.q_proj.lora_B.weight": np.zeros((6, 2), "f4")}, shape)
    with pytest.raises(ValueError, match="lm_head"):
        converted({"base_model.model.lm_head.lora_A.weight": np.zeros((2, 8), "f4")}, shape)
    eyes = "base_model.model.model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj"
    with pytest.raises(ValueError, match="vision_tower"):
        converted({f"{eyes}.lora_B.weight": np.zeros((64, 2), "f4")},
                  {"general.architecture": "gemma3"})  # fmt: skip
    for heads in ({}, {"llama.attention.head_count": 0}):
        with pytest.raises(ValueError, match="how many attention heads"):
            converted({}, {"general.architecture": "llama", **heads})
    with pytest.raises(ValueError, match="does not know how"):
        converted({}, {"general.architecture": "mamba"})
    wider = tiny_adapter(tmp_path / "w", _wider(tmp_path / "hf"))
    transport = EmbeddedTransport(str(tiny.file), adapter=str(wider))
    with pytest.raises(RunError, match=r"with the adapter .*adapter\.gguf"):
        asyncio.run(ask(transport))
    asyncio.run(transport.close())


def _wider(folder: Path) -> Path:
    from tiny_model import tiny_model

    return tiny_model(folder, hidden_size=128)


def test_a_local_file_is_a_model(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'tiny"):
        LocalFile(tiny.file.with_name("tinny.gguf"))
    (tmp_path / "no.gguf").write_bytes(b"PK\x03\x04")
    with pytest.raises(RecipeError, match="no GGUF file"):
        LocalFile(tmp_path / "no.gguf")
    with pytest.raises(ValueError, match="GGUF"):
        head(tmp_path / "no.gguf")
    copy = tmp_path / "copy.gguf"
    shutil.copy(tiny.file, copy)
    assert LocalFile(copy).sha256 == LocalFile(tiny.file).sha256
    copy.write_bytes(copy.read_bytes() + b"x")
    assert LocalFile(copy).sha256 != LocalFile(tiny.file).sha256


def test_a_recipe_names_its_student_from_where_it_lies(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copy(tiny.file, tmp_path / "t.gguf")
    shutil.copytree(tiny.adapter, tmp_path / "student")
    (tmp_path / "p.jsonl").write_text('{"prompt": "why"}\n')
    (tmp_path / "r.yaml").write_text(
        "models: {teacher: {model: embedded/./t.gguf, adapter: ./student}}\n"
        "steps:\n  - read: {path: p.jsonl}\n  - respond: {models: [teacher]}\n"
    )
    recipe = Recipe.load(tmp_path / "r.yaml")
    tree = recipe.resolved()["models"]["teacher"]
    assert tree == {"model": f"embedded/{tmp_path}/t.gguf", "adapter": str(tmp_path / "student")}
    with pytest.raises(RecipeError, match="has no adapter_config"):
        Recipe.load(tmp_path / "r.yaml", ["models.teacher.adapter=./none"])


def test_other_models_take_no_adapter_and_own_servers_say_their_weights() -> None:
    hosted = parse_model({"model": "vllm/a", "adapter": "x"})
    with pytest.raises(RecipeError, match="only an embedded model takes an adapter"):
        hosted.check_written()
    with pytest.raises(RecipeError, match="base_url"):
        parse_model({"model": "vllm/a", "weights": "x"}).check_written()
    at = [
        parse_model(
            {"model": "vllm/a", "base_url": f"http://127.0.0.1:{port}/v1", "weights": weights}
        ).identity()
        for port, weights in ((8000, "one"), (9000, "one"), (8000, "two"))
    ]
    assert at[0] == at[1] != at[2]
