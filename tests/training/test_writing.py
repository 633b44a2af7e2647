"""A Writer writes what transformers' own loop writes, whatever stands beside it in a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from later import later
from tiny_model import tiny_model

from karat.row import Message
from karat.training.writing import Writer

torch = later("torch")

PROMPTS = [[Message("user", text)] for text in ("Hi", "A longer question, about colours?", "é")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model", initializer_range=0.2)


@pytest.fixture(scope="module")
def writer(folder: Path) -> Writer:
    return Writer(folder, device="cpu")


def alone(writer: Writer, prompt: list[Message], tokens: int) -> str:
    """transformers, one prompt, nothing padded."""
    turns = [{"role": m.role, "content": m.content} for m in prompt]
    ids = writer.tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    out = writer.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False,
        pad_token_id=258, eos_token_id=257,
    )  # fmt: skip
    return str(writer.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def test_greedy_is_transformers_own(writer: Writer) -> None:
    written = writer.write(PROMPTS, max_tokens=12)
    assert written == [[alone(writer, prompt, 12)] for prompt in PROMPTS]


def test_the_same_call_writes_the_same_and_neighbours_do_not_matter(writer: Writer) -> None:
    how = {"n": 3, "temperature": 1.0, "top_p": 0.9, "max_tokens": 12}
    written = writer.write(PROMPTS, **how, seed=5)  # type: ignore[arg-type]
    assert written == writer.write(PROMPTS, **how, seed=5)  # type: ignore[arg-type]
    assert written[0] == writer.write(PROMPTS[:1], **how, seed=5)[0]  # type: ignore[arg-type]
    assert written != writer.write(PROMPTS, **how, seed=6)  # type: ignore[arg-type]
    assert all(len(set(texts)) == 3 for texts in written)


def test_tokens_are_drawn_as_often_as_they_are_likely(writer: Writer) -> None:
    """Over a grid of uniform numbers the shares are the probabilities, of the nucleus only."""
    probs = np.array([0.1, 0.4, 0.05, 0.25, 0.2])
    grid = (np.arange(10_000)[:, None] + 0.5) / 10_000
    for top_p, kept in ((1.0, [0, 1, 2, 3, 4]), (0.8, [1, 3, 4]), (0.01, [1])):
        choose = writer._sampler(grid, 0, temperature=2.0, top_p=top_p)
        logits = torch.tensor(2 * np.log(probs)).expand(len(grid), -1)
        drawn = choose(torch.zeros(len(grid), 0), logits).argmax(-1).numpy()
        expected = np.where(np.isin(np.arange(5), kept), probs, 0)
        shares = np.bincount(drawn, minlength=5) / len(grid)
        assert shares == pytest.approx(expected / expected.sum(), abs=2e-4)


def test_likelihood_is_that_of_the_answer_and_its_end(writer: Writer, folder: Path) -> None:
    pairs = [(PROMPTS[0], "Hello."), (PROMPTS[1], "x"), (PROMPTS[2], "A much longer answer é.")]
    nats, tokens = writer.log_likelihood(pairs)
    for (prompt, text), found, count in zip(pairs, nats, tokens, strict=True):
        turns = [{"role": m.role, "content": m.content} for m in prompt]
        start = writer.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_dict=False
        )
        end = [*writer.tokenizer(text)["input_ids"], 257]
        with torch.no_grad():
            logits = writer.model(torch.tensor([start + end])).logits[0].double()
        at = logits.log_softmax(-1)[len(start) - 1 : -1]
        expected = at[torch.arange(len(end)), torch.tensor(end)].sum().item()
        assert found == pytest.approx(expected, rel=1e-4)
        assert count == len(end)
    small = Writer(folder, device="cpu", batch_tokens=1).log_likelihood(pairs)[0]
    assert small == pytest.approx(nats, rel=1e-4)


def test_nothing_asked_is_nothing_written(writer: Writer) -> None:
    assert writer.write([]) == []
    assert [len(x) for x in writer.log_likelihood([])] == [0, 0]
