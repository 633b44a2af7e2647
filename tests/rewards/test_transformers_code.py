"""Reward models with code of their own: ArmoRM's kind, and one that runs out of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from later import later

from karat.errors import RecipeError, RowError, RunError
from karat.rewards.base import UNBOUNDED, Candidates
from karat.rewards.load import load_reward
from karat.rewards.transformers import ARMORM, HELPSTEER, TransformersReward
from karat.row import Message

torch, transformers = later("torch", "transformers")

TURNS = (Message("user", "Name a colour."),)
TEXTS = ("Blue.", "Green, and then some more of it. " * 5, "é" * 30, "B" * 70, "Grey")
# In the manner of RLHFlow/ArmoRM-Llama3-8B-v0.1: padding found from the front, a gate at the start
# of the answer, `logits` a flat vector, and a name that transformers 5 no longer has.
GATED = """
from dataclasses import dataclass
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel
from transformers.models.llama.modeling_llama import LLAMA_INPUTS_DOCSTRING
from transformers.utils import ModelOutput

@dataclass
class Out(ModelOutput):
    rewards: torch.Tensor | None = None
    gating_output: torch.Tensor | None = None
    score: torch.Tensor | None = None
    logits: torch.Tensor | None = None

class Gated(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.regression = nn.Linear(config.hidden_size, config.num_objectives, bias=False)
        self.gate = nn.Linear(config.hidden_size, config.num_objectives)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, **kwargs):
        hidden = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        if self.config.pad_token_id is None:
            if len(input_ids) > 1:
                raise ValueError("no padding token")
            last = torch.tensor([-1])
        else:
            found = torch.eq(input_ids, self.config.pad_token_id).int().argmax(-1)
            last = (found - 1) % input_ids.shape[1]
        row = torch.arange(len(input_ids))
        opens = [(one == 257).nonzero()[-1].item() for one in input_ids]
        rewards = self.regression(hidden[row, last])
        gating = self.gate(hidden[row, opens]).softmax(1)
        score = (rewards * gating).sum(1)
        return Out(rewards=rewards, gating_output=gating, score=score, logits=score)
"""
# As if a device held two texts at a time, and none longer than 300 tokens.
SMALL = """
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

class Small(LlamaForSequenceClassification):
    def forward(self, input_ids=None, **kwargs):
        if len(input_ids) > 2 or input_ids.shape[1] > 300:
            raise torch.OutOfMemoryError("out of memory")
        if (input_ids == 126 - 33).any():
            raise RuntimeError("a bug")
        return super().forward(input_ids, **kwargs)
"""


@pytest.fixture(autouse=True)
def modules(tmp_path_factory, monkeypatch):
    """Code of models is copied here, not to the user's cache."""
    place = str(tmp_path_factory.mktemp("modules"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", place)
    monkeypatch.syspath_prepend(place)


def reward(folder: Path, **options: Any) -> TransformersReward:
    return load_reward(
        {
            "reward": f"transformers/{folder.name}", "threads": 1, "device": "cpu",
            "trust_remote_code": True, **options,
        },
        folder.parent,
    )  # fmt: skip


@pytest.fixture
def gated(tmp_path):
    llama = __import__("transformers.models.llama.modeling_llama", fromlist=["x"])
    llama.LLAMA_INPUTS_DOCSTRING = ""
    folder = tiny.save_with_code(tmp_path / "gated", GATED, "Gated", num_objectives=19)
    del llama.LLAMA_INPUTS_DOCSTRING
    return folder


def test_code_of_others_runs_only_when_the_recipe_says_so(gated):
    with pytest.raises(RecipeError, match="trust_remote_code: true"):
        reward(gated, trust_remote_code=False)


@pytest.mark.parametrize("batch_tokens", [None, 100_000])
def test_objectives_and_their_sum(gated, batch_tokens):
    found = reward(gated, batch_tokens=batch_tokens)
    assert list(found.attributes) == [*ARMORM, "reward"]
    assert all(found.attributes[name] == (0.0, 4.0) for name in HELPSTEER)
    assert found.attributes["reward"] == UNBOUNDED
    assert found.within_prompt == {"reward"}
    scores_NA = found.score(TURNS, TEXTS)
    cutter = transformers.AutoTokenizer.from_pretrained(gated)
    kind = transformers.AutoModelForSequenceClassification
    model = kind.from_pretrained(gated, trust_remote_code=True).eval()
    for text, scores_A in zip(TEXTS, scores_NA, strict=True):
        turns = [
            {"role": "user", "content": TURNS[0].content},
            {"role": "assistant", "content": text},
        ]
        ids = cutter.apply_chat_template(turns, return_tensors="pt", return_dict=False)
        with torch.no_grad():
            out = model(ids)
        raw = out.rewards[0].numpy()
        np.testing.assert_allclose(scores_A[:5], raw[:5] * 5 - 0.5, atol=1e-5)
        np.testing.assert_allclose(scores_A[5:19], raw[5:], atol=1e-5)
        np.testing.assert_allclose(scores_A[19], out.score[0].item(), atol=1e-5)


def test_objectives_of_other_names(tmp_path, gated):
    names = [f"objective_{i}" for i in range(19)]
    found = reward(gated, attributes=names)
    assert list(found.attributes) == [*names, "reward"]
    np.testing.assert_allclose(
        found.score(TURNS, TEXTS)[:, :5] * 5 - 0.5,
        reward(gated).score(TURNS, TEXTS)[:, :5],
        atol=1e-4,
    )
    with pytest.raises(RecipeError, match="3 for 19 objectives"):
        reward(gated, attributes=["a", "b", "c"])
    with pytest.raises(RecipeError, match="leave it out"):
        reward(gated, attributes=[*names[1:], "reward"])


def test_an_output_that_is_not_what_the_recipe_says_stops_the_run(tmp_path):
    folder = tiny.save_with_code(tmp_path / "small", SMALL, "Small")
    with pytest.raises(RunError, match="gives 1 scores a response, and `attributes` names 2"):
        reward(folder, attributes=["a", "b"]).score(TURNS, ["x"])


def test_where_memory_runs_out_batches_get_smaller(tmp_path):
    folder = tiny.save_with_code(tmp_path / "small", SMALL, "Small")
    found = reward(folder, batch_tokens=100_000)
    alone = reward(folder).score(TURNS, TEXTS)
    np.testing.assert_allclose(found.score(TURNS, TEXTS), alone, atol=1e-5)
    long, good = found.score_many([Candidates(TURNS, ("x" * 400,)), Candidates(TURNS, TEXTS)])
    assert isinstance(long, RowError)
    assert "does not fit" in str(long)
    np.testing.assert_allclose(good, alone, atol=1e-5)


def test_any_other_fault_is_not_taken_for_it(tmp_path):
    folder = tiny.save_with_code(tmp_path / "small", SMALL, "Small")
    with pytest.raises(RuntimeError, match="a bug"):
        reward(folder, batch_tokens=100_000).score(TURNS, ["~~", "a"])
