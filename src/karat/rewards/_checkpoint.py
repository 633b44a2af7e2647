"""What a folder of weights says of itself before anything of it is loaded.

A recipe is checked in milliseconds and loads no torch, so what a reward must state (how many scores
it gives, on what terms, under which licence, which weights exactly) is read from its files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from karat.errors import RecipeError

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# Everything but the weights; enough to check a recipe without downloading gigabytes.
SMALL_FILES = ("*.json", "*.jinja", "*.md", "*.model", "*.txt", "*.py")
_COUNTS = (".json", ".jinja", ".model", ".txt", ".py", ".safetensors", ".bin")
_DOES_NOT_COUNT = ("generation_config.json", "trainer_state.json", "training_args.bin")
_SAMPLE_BYTES = 4096
_WHOLE_BYTES = 1 << 20
_HEADER_BYTES = 100 << 20  # what the safetensors format allows


class Checkpoint(NamedTuple):
    """A folder with config and tokenizer; `name` and `revision` where it is a hub's."""

    folder: Path
    config: dict[str, Any]
    tokenizer: dict[str, Any]
    name: str
    revision: str | None

    @property
    def architecture(self) -> str:
        return str((self.config.get("architectures") or [""])[0])

    @property
    def runs_code(self) -> bool:
        """Whether loading it runs Python that comes with it."""
        return bool(self.config.get("auto_map") or self.tokenizer.get("auto_map"))

    def labels(self) -> list[str]:
        """The names of the head's outputs, LABEL_0 … where nobody named them.

        Source: transformers configuration_utils.py (two labels where a configuration names none).
        """
        named: Mapping[str, Any] = self.config.get("id2label") or {}
        if named:
            return [str(named[key]) for key in sorted(named, key=int)]
        return [f"LABEL_{i}" for i in range(int(self.config.get("num_labels") or 2))]

    def template(self) -> str | None:
        """Its chat template, from whichever of the two places it is kept in."""
        file = self.folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        found = self.tokenizer.get("chat_template")
        if isinstance(found, list):
            found = {one["name"]: one["template"] for one in found}.get("default")
        return found if isinstance(found, str) else None

    def special_tokens(self) -> dict[str, str]:
        """bos_token, eos_token … as a template sees them."""
        named = _json(self.folder / "special_tokens_map.json") | self.tokenizer
        texts = {
            key: value.get("content") if isinstance(value, dict) else value
            for key, value in named.items()
            if key.endswith("_token")
        }
        return {key: text for key, text in texts.items() if isinstance(text, str)}

    def longest(self) -> int | None:
        """Tokens a conversation may have; None where nothing says."""
        inner = self.config.get("text_config") or {}
        found = (
            self.config.get("max_position_embeddings", inner.get("max_position_embeddings")),
            self.tokenizer.get("model_max_length"),  # 1e30 stands for "not said"
        )
        limits = [int(n) for n in found if isinstance(n, int | float) and 0 < n < 1e9]
        return min(limits, default=None)

    def licence(self) -> str:
        """Of the model card's front matter."""
        card = self.folder / "README.md"
        text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
        try:
            facts = yaml.safe_load(front[1]) if front else None
        except yaml.YAMLError:
            facts = None
        if not isinstance(facts, dict):
            return "unknown"
        named = facts.get("license")
        named = facts.get("license_name", named) if named == "other" else named
        return str(named) if named else "unknown"


def find(name: str, folder: Path, revision: str | None) -> Checkpoint:
    """The folder behind a path, one of `folder` if relative, or behind the name of a hub's model.

    Raises: RecipeError.
    """
    path = folder / Path(name).expanduser()
    local = path.is_dir()
    if not local:
        path, revision = _of_hub(name, path, revision)
    if not (path / "config.json").is_file():
        adapter = (path / "adapter_config.json").is_file()
        raise RecipeError(
            f"{path} has no config.json"
            + ("; it holds an adapter: merge it into its model and save that" if adapter else "")
        )
    config, tokenizer = _json(path / "config.json"), _json(path / "tokenizer_config.json")
    own = path.name if local else name
    return Checkpoint(path, config, tokenizer, own, None if local else revision)


def _of_hub(name: str, path: Path, revision: str | None) -> tuple[Path, str]:
    """The small files of a hub's model in the local cache, and the commit they are of."""
    if not HUB_NAME.fullmatch(name):
        raise RecipeError(f"no folder {path}, and '{name}' is no name of a model on the hub")
    hub = import_module("huggingface_hub")
    try:
        found = Path(hub.snapshot_download(name, revision=revision, allow_patterns=SMALL_FILES))
    except (OSError, ValueError) as error:  # its own errors are these: unknown, gated, offline
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RecipeError(f"no folder {path}, and the hub gives no model '{name}': {why}") from None
    return found, found.name  # a snapshot's folder is named by its commit


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise RecipeError(f"{path}: not JSON: {error}") from None
    return found if isinstance(found, dict) else {}


def fingerprint(
    found: Checkpoint, options: Sequence[object], names: re.Pattern[str] | None = None
) -> str:
    """16 hex digits of what a score depends on: the files (of these `names`, where given), or the
    hub's commit, and options.

    Of each tensor a sample of 4 KiB is read, of small ones (a head) everything: training moves
    nearly every weight, so this sees it in a fraction of a second, whatever the model's size, and a
    copied folder keeps its scores.
    """
    state = blake2b(repr(tuple(options)).encode(), digest_size=8)
    if found.revision is not None:
        state.update(f"{found.name}@{found.revision}".encode())
        return state.hexdigest()
    for file in sorted(found.folder.iterdir()):
        counts = file.suffix in _COUNTS and file.name not in _DOES_NOT_COUNT
        if counts and (names is None or names.fullmatch(file.name)):
            state.update(f"{file.name} {file.stat().st_size} ".encode())
            for piece in _pieces(file):
                state.update(piece)
    return state.hexdigest()


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as data:
        length = int.from_bytes(data.read(8), "little") if file.suffix == ".safetensors" else 0
        if not 0 < length < min(_HEADER_BYTES, file.stat().st_size):
            data.seek(0)
            while block := data.read(1 << 22):
                yield block
            return
        header = data.read(length)
        yield header
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        for _, tensor in sorted(tensors.items()):
            start, end = tensor["data_offsets"]
            size = end - start
            wanted = size if size <= _WHOLE_BYTES else _SAMPLE_BYTES
            data.seek(8 + length + start + (size - wanted) // 2, os.SEEK_SET)
            yield data.read(wanted)
