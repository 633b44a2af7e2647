"""The shipped head: sound order, no failure on any text, clear errors for what is no head."""

import io
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karat.errors import RecipeError
from karat.rewards.columns import read_raw
from karat.rewards.head import ATTRIBUTES, FORMAT, SCALE, HeadReward, card, head_from_bytes, load
from karat.rewards.head_file import pack
from karat.rewards.head_parts import same_line
from karat.row import Message

REWARD = HeadReward()
PACKED = pack(REWARD.head)
AT = list(REWARD.attributes).index("reward")
PROMPT = [Message("user", "Why is the sky blue? Answer in a short paragraph.")]
SOUND = (
    "The sky looks blue because air scatters short wavelengths of sunlight more than long ones."
    " Blue light is scattered in every direction, so it reaches our eyes from all over the sky,"
    " while red and yellow light travel almost straight on. At sunset the light crosses more air,"
    " most of the blue is gone, and the sky turns red."
)
SPOILED = {
    "empty": "",
    "loop": "The sky is blue. " * 30,
    "echo": PROMPT[0].content,
    "cut": SOUND[:47],
    "refusal": "I'm sorry, but I can't help with that.",
    "shuffled": " ".join(sorted(SOUND.split())),
    "off topic": "Preheat the oven to 180 degrees. Mix flour, sugar and butter, then add the eggs.",
}


def test_it_is_a_reward() -> None:
    assert REWARD.name == "embedded/helpsteer2"
    assert re.fullmatch(r"embedded/helpsteer2@[0-9a-f]{16}", REWARD.identity)
    assert list(REWARD.attributes) == [*ATTRIBUTES, "reward", "uncertainty"]
    assert set(REWARD.attributes.values()) == {SCALE}
    assert "CC-BY-4.0" in REWARD.licence


@pytest.mark.parametrize("how", SPOILED)
def test_a_sound_answer_beats_a_spoiled_one(how: str) -> None:
    sound, spoiled = REWARD.score(PROMPT, [SOUND, SPOILED[how]])[:, AT]
    assert sound > spoiled


@given(st.text(max_size=300), st.lists(st.text(max_size=300), max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_text_is_scored_on_the_scale(prompt: str, responses: list[str]) -> None:
    scores_NA = REWARD.score([Message("user", prompt)], responses)
    assert scores_NA.shape == (len(responses), 7)
    assert scores_NA.dtype == np.float64
    assert (scores_NA >= 0).all()
    assert (scores_NA <= 4).all()


def test_scores_do_not_depend_on_neighbours_or_threads() -> None:
    texts = [SOUND, *SPOILED.values()] * 30
    whole = REWARD.score(PROMPT, texts)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda text: REWARD.score(PROMPT, [text])[0], texts))
    assert np.array_equal(whole, np.array(parts))


def test_empty_responses_score_zero() -> None:
    assert not REWARD.score(PROMPT, ["", "  \n"]).any()
    assert REWARD.score(PROMPT, []).shape == (0, 7)


def test_the_score_is_what_the_members_agree_on() -> None:
    raw_NR = read_raw(PROMPT, [SOUND, *SPOILED.values()][:3])
    votes_NMA = REWARD.head.votes(raw_NR)
    assert votes_NMA.shape == (3, REWARD.head.members, 6)
    scores_NA = REWARD.score(PROMPT, [SOUND])
    np.testing.assert_allclose(scores_NA[0, :6], votes_NMA[0].mean(axis=0).clip(0, 4), atol=1e-6)
    assert scores_NA[0, 6] == pytest.approx(votes_NMA[0, :, 5].std(ddof=1), abs=1e-6)


def test_reward_without_pairs_is_the_published_weighted_mean() -> None:
    head = replace(REWARD.head, paired=None, reward_line=same_line(1), length=None)
    h, c, coh, _, _, reward = head.votes(read_raw(PROMPT, [SOUND])).mean(axis=1)[0]
    assert reward == pytest.approx((0.65 * h + 0.8 * c + 0.45 * coh) / 1.9)


def test_needs_no_scikit_learn() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None; from karat.rewards.head import HeadReward;"
        "from karat.row import Message; HeadReward().score([Message('user', 'a')], ['b'])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_head_survives_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(PACKED)
    mine = load("mine.npz", tmp_path)
    assert mine.name == "head/mine"
    assert np.array_equal(mine.score(PROMPT, [SOUND]), REWARD.score(PROMPT, [SOUND]))
    assert load("helpsteer2", tmp_path).identity == REWARD.identity


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"PK\x03\x04broken",
        _npy(),
        _npz(x=np.arange(3)),
        PACKED[:5000],
    ],
    ids=["empty", "text", "zip", "npy", "other npz", "cut"],
)
def test_a_file_that_is_no_head(data: bytes) -> None:
    with pytest.raises(RecipeError, match=r"some\.npz: not a reward head; .*karat reward train"):
        head_from_bytes(data, "some.npz")


def test_a_head_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    data = PACKED
    monkeypatch.setattr("karat.rewards.features.VERSION", 99)
    with pytest.raises(RecipeError, match=rf"another version \({FORMAT}, features \d+\)"):
        head_from_bytes(data, "old.npz")


def test_a_head_of_other_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karat.curation.embedding.IDENTITY", "another@0")
    with pytest.raises(RecipeError, match=r"made with the embeddings minilm.*has another@0"):
        head_from_bytes(PACKED, "old.npz")


def test_a_damaged_head() -> None:
    with np.load(io.BytesIO(PACKED)) as file:
        arrays = dict(file)
    members, *_ = arrays["linear"].shape
    for broken in (
        {"roots": arrays["roots"] + 10**8},
        {"value": arrays["value"][:5]},
        {"linear": arrays["linear"][: members - 1]},
        {"linear": arrays["linear"] * np.nan},
        {"axes_prompt": arrays["axes_prompt"][:, :7]},
        {"lines": arrays["lines"][:1]},
    ):
        with pytest.raises(RecipeError, match="damaged"):
            head_from_bytes(_npz(**(arrays | broken)), "bad.npz")


def test_a_missing_head(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'helpsteer2'"):
        load("helpster2", tmp_path)


def test_the_card_is_shipped_and_says_what_it_must() -> None:
    text = card()
    for words in ("CC-BY-4.0", "Not good for", "longer wins", "95% interval", "karat reward train"):
        assert words in text
