"""A fine-tuned reward model learns, is saved as servers load it, and grades as it was trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import environment, slow
from later import later
from marked import quick, write_rated
from safetensors.numpy import load_file
from tiny_model import CHATML, tiny_model, tiny_tokenizer

from karat.errors import RecipeError
from karat.rewards.load import load_reward
from karat.row import Message
from karat.training.finetune.settings import RewardSettings, settings_of
from karat.training.finetune.train import train_reward_model

torch, transformers = later("torch", "transformers")

BETTER, WORSE = "++++--", "-----+"


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rm")
    tiny_model(folder / "base")
    write_rated(folder / "ratings.jsonl")
    return folder


def train(place: Path, out: str, settings: RewardSettings, **more):
    return train_reward_model(
        [place / "ratings.jsonl"], str(place / "base"), place / out, settings, **more
    )


def reward_of(folder: Path):
    return load_reward({"reward": f"transformers/{folder.name}", "device": "cpu"}, folder.parent)


@pytest.mark.parametrize(
    ("objective", "lora"),
    [("regression", True), ("bt", False), ("margin", False), ("scaled", True)],
)
def test_each_objective_learns_and_grades(place, objective, lora):
    out = place / f"{objective}-{lora}"
    made = train(place, out.name, quick(objective=objective, lora=lora))
    assert made.best_loss < made.start_loss / 2
    (pairs,) = made.measured.pairs
    assert (pairs.name, pairs.n) == ("rated pairs", 6)
    assert pairs.value > 0.8
    assert made.examples == (
        {"training": 102, "validation": 6} if objective == "regression"
        else {"training": 51, "validation": 3}
    )  # fmt: skip
    found = reward_of(out)
    scores_NA = found.score((Message("user", "Task"),), [BETTER, WORSE])
    names = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
    assert list(found.attributes) == (names if objective == "regression" else ["reward"])
    assert scores_NA[0, 0] > scores_NA[1, 0]
    config = json.loads((out / "config.json").read_text())
    assert (config["problem_type"], config["pad_token_id"]) == ("regression", 258)
    assert not (out / "checkpoints").exists()
    assert len(np.load(out / "prompts.npy")) == 54  # learned from or chosen by, not held out
    assert (out / "adapter" / "adapter_model.safetensors").exists() == lora
    card = (out / "README.md").read_text()
    assert f"**{pairs.value:.3f}**" in card
    assert "karat reward train" in card
    if objective == "regression":
        assert {a.name for a in made.measured.attributes} == {*names} - {"complexity"}
        assert all(a.r > 0.8 for a in made.measured.attributes)
    assert made.summary().count("\n") >= 3


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
def test_the_adapter_on_its_base_is_the_saved_model(place):
    peft = pytest.importorskip("peft")
    out = place / "scaled-True"
    kind = transformers.AutoModelForSequenceClassification
    base = kind.from_pretrained(place / "base", num_labels=1)
    base.config.pad_token_id = 258
    whole = kind.from_pretrained(out)
    ids = torch.tensor([[256, 65, 66, 257]])
    with torch.no_grad():
        one = peft.PeftModel.from_pretrained(base, out / "adapter")(ids).logits
        torch.testing.assert_close(one, whole(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_pipeline_without_settings_gives_raw_scores(place):
    out = place / "bt-False"
    pipe = transformers.pipeline("text-classification", model=str(out), device="cpu")
    turns = [{"role": "user", "content": "Task"}, {"role": "assistant", "content": BETTER}]
    text = pipe.tokenizer.apply_chat_template(turns, tokenize=False)
    (said,) = pipe([text])
    score = reward_of(out).score((Message("user", "Task"),), [BETTER])[0, 0]
    assert said == {"label": "reward", "score": pytest.approx(score, abs=1e-4)}


def test_pairs_go_on_from_a_regression_folded_into_one_output(place):
    made = train(place, "two", quick(objective="regression+scaled"))
    first = place / "two" / "regression"
    assert next(iter(reward_of(first).attributes)) == "helpfulness"
    assert list(reward_of(place / "two").attributes) == ["reward"]
    turns = (Message("user", "Task"),)
    five_NA = reward_of(first).score(turns, [BETTER, WORSE])
    gap = float(np.diff(five_NA @ made.settings.attribute_weights())[0])
    assert gap < 0
    # It begins where the regression ended, well under chance, and gets no worse.
    assert made.start_loss < 0.8 * np.log(2) * 3
    assert made.best_loss <= made.start_loss
    assert any("regression first" in note for note in made.notes)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
import torch
torch.set_num_threads(1)
from marked import quick
from karat.training.finetune.train import train_reward_model
def say(text):
    print(text, flush=True)
    if text.startswith("step 14:"):
        os.kill(os.getpid(), signal.SIGKILL)
train_reward_model([{data!r}], {base!r}, Path({out!r}), quick(objective="bt"), say=say)
"""


@slow
def test_a_killed_training_goes_on_to_the_same_weights(place):
    here = Path(__file__).parent
    code = KILLED.format(
        tests=str(here.parent), here=str(here), data=str(place / "ratings.jsonl"),
        base=str(place / "base"), out=str(place / "killed"),
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    half = place / "killed" / "checkpoints" / "checkpoint-99"  # what a kill while saving leaves
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    said: list[str] = []
    again = train(place, "killed", quick(objective="bt"), say=said.append)
    whole = train(place, "bt-False", quick(objective="bt"))
    assert "going on from step 7" in said
    assert again.train_curve == whole.train_curve
    assert again.validation_curve == whole.validation_curve
    one, other = (load_file(place / name / "model.safetensors") for name in ("killed", "bt-False"))
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_a_finished_training_is_returned_and_nothing_written_over(place):
    said: list[str] = []
    again = train(place, "bt-False", quick(objective="bt", batch_tokens=99), say=said.append)
    assert said == [f"{place / 'bt-False'} is trained: nothing to do"]
    assert again.measured.pairs[0].n == 6
    with pytest.raises(RecipeError, match="holds another training"):
        train(place, "bt-False", quick(objective="bt", seed=8))
    with pytest.raises(RecipeError, match="not empty and holds no training"):
        train(place, "base", quick())


def test_members_differ_and_their_doubt_is_measured(place):
    made = train(place, "many", quick(objective="bt", members=2, epochs=2.0))
    first, second = (place / "many" / f"member-{i}" for i in (1, 2))
    turns = (Message("user", "Task"),)
    assert reward_of(first).score(turns, [BETTER]) != reward_of(second).score(turns, [BETTER])
    names = [figure.name for figure in made.figures]
    assert names[:2] == ["members, mean accuracy", "their mean"]
    tree = yaml.safe_load((place / "many" / "panel.yaml").read_text())
    assert tree["rewards"]["panel"]["of"] == ["member1.reward", "member2.reward"]
    assert "their mean" in (place / "many" / "README.md").read_text()
    assert "panel.yaml" in made.summary()


SMUGGLING = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Tiny.<|im_end|>\n{% endif %}"
    + CHATML
)


def test_what_is_rendered_in_training_is_what_is_graded(place, tmp_path):
    """No system prompt that no row has, a padding token that ends no turn, nothing cut in silence;
    the training itself refuses a folder that is read otherwise."""
    tiny_model(tmp_path / "base")
    tokenizer = tiny_tokenizer(SMUGGLING)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "base")
    long = tmp_path / "long.jsonl"
    row = json.loads((place / "ratings.jsonl").read_text().partition("\n")[0])
    long.write_text(json.dumps({**row, "prompt": "Long " * 99}) + "\n")
    data, base = [place / "ratings.jsonl", long], str(tmp_path / "base")
    settings = quick(epochs=0.2, max_length=120)
    made = train_reward_model(data, base, tmp_path / "rm", settings, tests=[long])
    notes = " ".join(made.notes)
    assert "You are Tiny." in notes
    found = reward_of(tmp_path / "rm")
    text = "".join(found.seen((Message("user", "Hi"),), "Ho").pieces)
    assert "Tiny" not in text
    config = json.loads((tmp_path / "rm" / "config.json").read_text())
    assert config["pad_token_id"] == 258
    assert "1 longer than 120 tokens: left out" in notes
    assert made.tests[0].n == 0
    cut = quick(epochs=0.2, max_length=120, too_long="truncate_left", seed=3)
    made = train_reward_model(data, base, tmp_path / "cut", cut)
    assert "1 longer than 120 tokens: cut" in " ".join(made.notes)


def test_a_base_without_a_chat_template_gets_a_plain_one(place, tmp_path):
    tiny_model(tmp_path / "base")
    tiny_tokenizer(None).save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink(missing_ok=True)
    made = train_reward_model(
        [place / "ratings.jsonl"], str(tmp_path / "base"), tmp_path / "rm", quick(epochs=0.2)
    )
    assert any("no chat template" in note for note in made.notes)
    pieces = "".join(reward_of(tmp_path / "rm").seen((Message("user", "Hi"),), "Ho").pieces)
    assert pieces.startswith("User:")
    assert pieces.endswith("<|im_end|>Ċ")


@pytest.mark.parametrize(
    ("lines", "objective", "said"),
    [
        ([{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(30)], "regression",
         "no rated answers"),
        ([{"prompt": f"p{i}", "response": "a", "helpfulness": 3} for i in range(30)], "bt",
         "no pairs"),
        ([{"prompt": "p", "response": "a", "helpfulness": 3}], "regression", "at least 20"),
    ],
)  # fmt: skip
def test_data_that_cannot_teach_is_told_so(place, tmp_path, lines, objective, said):
    file = tmp_path / "d.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RecipeError, match=said):
        train_reward_model([file], str(place / "base"), tmp_path / "o", quick(objective=objective))


def test_what_is_wrong_is_told_before_anything_is_trained(place, tmp_path):
    with pytest.raises(RecipeError, match="no folder"):
        train_reward_model([place / "ratings.jsonl"], "./nowhere", tmp_path / "o", quick())
    broken = tiny_model(tmp_path / "broken")
    os.truncate(broken / "model.safetensors", 5000)
    with pytest.raises(RecipeError, match="cannot be loaded to be trained"):
        train_reward_model([place / "ratings.jsonl"], str(broken), tmp_path / "o", quick())
    for word, said in [
        ("bacth=3", "did you mean 'batch'"), ("batch=0", ">= 1"), ("objective=dpo", "objective"),
        ("weights=goodnes", "did you mean 'goodness'"), ("batch", "KEY=VALUE"),
    ]:  # fmt: skip
        with pytest.raises(RecipeError, match=said):
            settings_of([word])
    assert settings_of(["lora=true"], objective="bt", seed=None) == RewardSettings(
        objective="bt", lora=True
    )


def test_learning_rates_go_through_the_published_ones():
    assert RewardSettings().rate(70_000_000_000) == pytest.approx(2e-6)
    assert RewardSettings().rate(500_000_000) == pytest.approx(1e-5, rel=0.02)
    assert RewardSettings(lora=True).rate(500_000_000) == pytest.approx(1e-4, rel=0.02)
    after = RewardSettings(objective="regression+scaled").rate(70_000_000_000, True)
    assert after == pytest.approx(1e-6)
