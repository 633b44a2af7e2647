"""What is read of a frozen model, and how it is known again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from frozen_models import ADDS, LONG, PROMPT, writer
from later import later
from tiny_model import CHATML, tiny_model, tiny_tokenizer

from karat.errors import RecipeError, RowError, RunError
from karat.rewards._states import FrozenModel, check, reading_of
from karat.rewards.hidden import Reading
from karat.row import Message
from karat.training.ratings import HumanData, Pair, Rated
from karat.training.reward_states import Kept

torch, transformers = later("torch", "transformers")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of six layers with random weights."""
    return writer(tmp_path_factory.mktemp("base") / "lm", ADDS)


def by_hand(folder: Path, prompt: list[Message], answer: str) -> Any:
    """The same states from transformers' own output, the whole conversation at once."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in prompt)
    head = tokenizer(before + "<|im_start|>assistant\n")["input_ids"][-256:]
    tail = tokenizer(f"{answer}<|im_end|>\n")["input_ids"]
    tail = tail if len(tail) <= 320 else [*tail[:256], *tail[-64:]]
    with torch.inference_mode():
        states = model(torch.tensor([head + tail]), output_hidden_states=True).hidden_states
    own = [states[layer][0][len(head) :] for layer in (1, 2, 3)]
    return torch.stack([torch.stack([s[-1], s[-2], s.mean(0)]) for s in own]).numpy().ravel()


@pytest.mark.parametrize("prompt", [PROMPT, LONG], ids=["short", "long"])
def test_what_is_read_is_what_the_layers_hold(base: Path, prompt: list[Message]) -> None:
    reading = reading_of(str(base))
    assert (reading.layers, reading.size, reading.licence) == ((1, 2, 3), 64, "mit")
    texts = ["Water.", "It is water that falls from clouds. " * 20, ""]
    model = FrozenModel(reading)
    found = model.read(prompt, texts)
    assert found.shape == (3, reading.width)
    for text, row in zip(texts, found, strict=True):
        np.testing.assert_allclose(row, by_hand(base, prompt, text), rtol=1e-4, atol=1e-4)
    assert np.array_equal(model.read(prompt, texts[1:2])[0], found[1])
    assert model.read(prompt, []).shape == (0, reading.width)


def test_an_answer_that_joins_with_what_stands_before_it_moves_no_other(tmp_path: Path) -> None:
    """The line break that ends the opening and a blank that begins the answer are one token."""
    tiny_model(tmp_path, num_hidden_layers=6, vocab_size=260, initializer_range=0.3)
    tokenizer = tiny_tokenizer()
    tree = json.loads(tokenizer.backend_tokenizer.to_str())
    tree["model"]["vocab"]["ĊĠ"], tree["model"]["merges"] = 259, [["Ċ", "Ġ"]]
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")
    model = FrozenModel(reading_of(str(tmp_path)))
    alone = model.read(PROMPT, ["Water."])[0]
    assert 259 in model.seen(PROMPT, "  Water.").ids
    assert np.array_equal(model.read(PROMPT, ["Water.", "  Water."])[0], alone)


def test_an_answer_that_is_asked_for_in_other_words_than_it_is_written_down(tmp_path: Path) -> None:
    """As Qwen3's template does, which opens an answer with an empty thought."""
    thinks = CHATML.replace("assistant\n{% endif", "assistant\n<think></think>{% endif")
    assert thinks != CHATML
    tiny_model(tmp_path, num_hidden_layers=6, initializer_range=0.3)
    tiny_tokenizer(thinks).save_pretrained(tmp_path)
    found = FrozenModel(reading_of(str(tmp_path))).read(PROMPT, ["Water."])
    np.testing.assert_allclose(found[0], by_hand(tmp_path, PROMPT, "Water."), rtol=1e-4, atol=1e-4)


def test_a_template_that_tells_no_beginning_is_refused(tmp_path: Path) -> None:
    other = "{% if add_generation_prompt %}Answer: {% endif %}" + CHATML
    tiny_model(tmp_path, num_hidden_layers=6)
    tiny_tokenizer(other).save_pretrained(tmp_path)
    with pytest.raises(RowError, match="nothing tells where the answer begins"):
        FrozenModel(reading_of(str(tmp_path))).read(PROMPT, ["Water."])


def test_what_has_no_chat_template_is_refused_in_words_that_help(tmp_path: Path) -> None:
    tiny_model(tmp_path)
    tiny_tokenizer(None).save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(RecipeError, match="no chat template; take the chat version of a model"):
        reading_of(str(tmp_path))


def test_a_short_context_is_not_read_past_its_end(tmp_path: Path) -> None:
    reading = reading_of(str(tiny_model(tmp_path, max_position_embeddings=128)))
    assert (reading.prompt, reading.first, reading.last) == (56, 56, 14)


def test_layers_of_an_eye_are_not_taken_for_those_of_the_text(tmp_path: Path) -> None:
    text = {"num_hidden_layers": 3, "hidden_size": 32, "intermediate_size": 64,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 260}  # fmt: skip
    eye = {"num_hidden_layers": 3, "hidden_size": 32, "intermediate_size": 64,
           "num_attention_heads": 4, "image_size": 8, "patch_size": 4}  # fmt: skip
    torch.manual_seed(0)
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**text), image_token_index=259,
        vision_config=transformers.CLIPVisionConfig(**eye),
    )  # fmt: skip
    transformers.LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    found = FrozenModel(reading_of(str(tmp_path))).read(PROMPT, ["Water."])
    assert found.shape == (1, 3 * 32 * 2)


def test_what_is_no_language_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RecipeError, match="names no num_hidden_layers"):
        reading_of(str(tmp_path))


def test_what_came_from_the_hub_is_known_by_what_it_reads(base: Path, tmp_path: Path) -> None:
    """A folder has another mark than a commit, though its weights are the same."""
    reading = FrozenModel(reading_of(str(base))).probed().reading
    hub = msgspec.structs.replace(reading, model="org/lm", mark="hub:0123", revision="0123")
    other = writer(tmp_path / "other", ADDS, seed=1)
    for folder in (base, other):
        check(hub, str(folder), Path())
    assert FrozenModel(hub, str(base)).read(PROMPT, ["Water."]).any()
    with pytest.raises(RunError, match="it reads the same text otherwise"):
        FrozenModel(hub, str(other)).read(PROMPT, ["Water."])


def test_an_embedded_model_is_known_by_its_weights_without_fetching_them() -> None:
    reading = reading_for("embedded/smollm2-135m", mark="embedded:b179c9523d0e6a0f")
    check(reading, None, Path())
    with pytest.raises(RecipeError, match="is not the model"):
        check(reading_for("embedded/smollm2-135m", mark="embedded:" + "0" * 16), None, Path())
    with pytest.raises(RecipeError, match="no embedded model 'gone'"):
        check(reading_for("embedded/gone", mark=""), None, Path())


def reading_for(model: str, mark: str) -> Reading:
    return Reading(model=model, mark=mark, revision=None, licence="mit", layers=(1,), size=4)


def test_each_prompt_is_read_once(base: Path) -> None:
    asked: list[int] = []

    class Counting(FrozenModel):
        def read(self, prompt, responses):
            asked.append(len(responses))
            return super().read(prompt, responses)

    rows = [Rated(tuple(PROMPT), text, (1.0,) * 5, "g") for text in ("Water.", "Snow.")]
    pair = Pair(tuple(PROMPT), "Water.", "Hail.", 1.0, "g")
    known = Kept(Counting(reading_of(str(base))))
    known.learn(HumanData(rows, [pair]))
    first = known.read(PROMPT, ["Snow.", "Hail.", "Snow."])
    assert np.array_equal(first[0], first[2])
    assert asked == [3, 0]
    known.read(PROMPT, ["Fog.", "Snow.", "Fog."])
    assert asked == [3, 0, 1]


def test_what_another_model_read_does_not_count(base: Path, tmp_path: Path) -> None:
    other = writer(tmp_path / "other", ADDS, seed=1)
    file = tmp_path / "x.states"
    Kept(FrozenModel(reading_of(str(other))), file).read(PROMPT, ["Water."])
    kept = Kept(FrozenModel(reading_of(str(base))), file)
    assert kept.count == 0
    found = kept.read(PROMPT, ["Water.", "Water."])
    assert np.array_equal(found[0], FrozenModel(reading_of(str(base))).read(PROMPT, ["Water."])[0])
    assert np.array_equal(found[0], found[1])
    again = Kept(FrozenModel(reading_of(str(base))), file)
    assert again.count == 1
    assert np.array_equal(again.read(PROMPT, ["Water."])[0], found[0])
