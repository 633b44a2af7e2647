"""An embedded model as a folder that transformers trains: made once from its GGUF file, and kept.

A student is trained from weights, and the only instruct weights a package index carries are a GGUF
file. Reading one costs transformers twenty CPU seconds each time, and leaves quantiser fields in
the model that its own `save_pretrained` refuses; so it is read once, cleaned, and kept in karat's
cache beside the file, under a name only a whole folder ever gets. Weights stay float32: what the
file says, to the last bit.

The pad token is made another one than the token that ends a turn. Where both are one, a trainer
that masks by token (not by length, as TRL 1.16 does) never teaches a student to stop.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from karat.errors import RunError
from karat.models.gguf_files import head
from karat.models.torch_libraries import imported, quiet
from karat.models.weights import Weights, fetch

try:
    import fcntl
except ImportError:  # Windows: two processes may both convert; the last rename wins, both whole
    fcntl = None  # type: ignore[assignment]

Say = Callable[[str], None]
STAMP = "karat.json"
_DIGITS_FIRST = ("smollm",)
_REVISION = 2  # of what this file makes of the weights


def base_folder(name: str, weights: Weights, say: Say) -> Path:
    """The folder of this embedded model, converted if it is not there yet. Raises: RunError."""
    return converted(fetch(weights, say), name, weights.sha256, say)


def converted(file: Path, name: str, sha256: str, say: Say) -> Path:
    """The folder made from a GGUF file, `sha256` its hash; the same one each time. Raises:
    RecipeError without transformers; RunError for a file it cannot read, or a full disk."""
    transformers = imported("transformers")
    folder = file.parent / f"{file.stem}-for-training"
    facts = {"model": name, "sha256": sha256, "transformers": transformers.__version__}
    facts["revision"] = str(_REVISION)
    if _is_made(folder, facts):
        return folder
    try:
        with _locked(file.parent):
            if _is_made(folder, facts):
                return folder
            for left in file.parent.glob("making-*"):  # of a conversion that was killed
                shutil.rmtree(left, ignore_errors=True)
            say(f"converting {name} for training, once; half a minute")
            with tempfile.TemporaryDirectory(prefix="making-", dir=file.parent) as made:
                _convert(file, Path(made))
                (Path(made) / STAMP).write_text(json.dumps(facts), encoding="utf-8")
                _put(Path(made), folder)
    except OSError as error:
        raise RunError(
            f"cannot keep {name} for training in {file.parent}: {error.strerror or error}; make "
            "room, or set KARAT_CACHE to a directory you may write, and run again"
        ) from error
    say(f"{name} is ready for training in {folder}")
    return folder


def _is_made(folder: Path, facts: dict[str, str]) -> bool:
    try:
        return bool(json.loads((folder / STAMP).read_bytes()) == facts)
    except (OSError, ValueError):
        return False


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time. The system drops the lock of a process that dies."""
    if fcntl is None:
        yield
        return
    with (folder / ".training.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert(file: Path, folder: Path) -> None:
    """Writes model, tokenizer and chat template. Raises: RunError, OSError."""
    torch, transformers = imported("torch"), imported("transformers")
    for name in ("accelerate", "gguf"):
        imported(name)
    where: dict[str, Any] = {"gguf_file": file.name}
    with quiet(), _without_bar():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **where)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                file.parent, dtype=torch.float32, **where
            )
        except Exception as error:  # whatever a reader of a binary format raises
            raise RunError(
                f"transformers {transformers.__version__} cannot read {file}: {error}; delete the "
                "file and run again"
            ) from error
        _split_digits(tokenizer, head(file))
        tokenizer.pad_token = _pad(tokenizer)
        _clean(model, tokenizer)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def _without_bar() -> Iterator[None]:
    """transformers draws this one bar whatever it is told."""
    module = imported("transformers.modeling_gguf_pytorch_utils")
    drawn, module.tqdm = module.tqdm, lambda tensors, **_: tensors
    try:
        yield
    finally:
        module.tqdm = drawn


def _split_digits(tokenizer: Any, facts: dict[str, Any]) -> None:
    """Words are cut before merges join letters, and transformers cuts every GGUF vocabulary as
    GPT-2's. SmolLM's cuts each digit off first: without that one text in twenty has other tokens
    than llama.cpp gives it, and a student is served on other tokens than it was trained on.

    Source: llama.cpp src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_SMOLLM.
    """
    if facts.get("tokenizer.ggml.pre") in _DIGITS_FIRST:
        cut = imported("tokenizers.pre_tokenizers")
        parts = [cut.Digits(individual_digits=True), cut.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = cut.Sequence(parts)


def _pad(tokenizer: Any) -> str:
    """A token that ends no turn: the unknown one, failing that the first special one left."""
    special = [tokenizer.unk_token, *tokenizer.all_special_tokens]
    ends = (None, tokenizer.eos_token, tokenizer.bos_token)
    return next((str(token) for token in special if token not in ends), str(tokenizer.eos_token))


def _clean(model: Any, tokenizer: Any) -> None:
    """Takes away what says that the weights are quantised, and tells the model its pad token."""
    model.hf_quantizer = None
    model.is_quantized = False
    for config in (model.config, model.generation_config):
        config.pad_token_id = tokenizer.pad_token_id
        for field in ("quantization_config", "_name_or_path", "_model_name_or_path"):
            if hasattr(config, field):
                delattr(config, field)


def _put(made: Path, folder: Path) -> None:
    """Gives the whole folder its name, in place of one of another version."""
    aside = made.with_name(f"{made.name}-old")
    if folder.exists():
        folder.replace(aside)
    made.rename(folder)
    made.mkdir()  # for the one who removes it
    shutil.rmtree(aside, ignore_errors=True)
