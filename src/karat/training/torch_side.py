"""What training and writing share of torch: devices, loading a model, what a disk refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from karat.errors import RecipeError, RunError
from karat.models.bases import base_model
from karat.models.torch_libraries import imported, quiet

NEEDED = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


def check_installed() -> None:
    """Looks for all that training needs, before anything else is done or paid for; imports nothing.

    Raises: RecipeError, naming what is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise RecipeError(f"training needs {', '.join(missing)}: pip install 'karat[train]'")


def device_of(asked: str) -> str:
    """`auto`: cuda where there is one, then mps, else cpu. Raises: RecipeError for what is no
    device; RunError for one not there."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", asked):
        raise RecipeError(f"no device '{asked}': auto, cpu, cuda, cuda:1, mps")
    torch = imported("torch")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next((name for name, found in there.items() if found), "cpu")
    number = int(asked.partition(":")[2] or 0)
    found = there.get(asked.partition(":")[0], True)
    if not found or (number and number >= torch.cuda.device_count()):
        raise RunError(
            f"torch {torch.__version__} finds no {asked}: install a build of torch for it, or say "
            "`--device cpu`"
        )
    return asked


def dtype_of(asked: str, device: str) -> Any:
    """`auto`: bfloat16 on cuda, float32 elsewhere, where half precision is slower. Raises:
    RecipeError."""
    torch = imported("torch")
    if asked == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    if asked not in ("float32", "bfloat16", "float16"):
        raise RecipeError(f"no dtype '{asked}': auto, float32, bfloat16 or float16")
    return getattr(torch, asked)


class Loaded(NamedTuple):
    """A model for writing or training, and the tokenizer that renders its chats."""

    model: Any
    tokenizer: Any


def load(source: str | Path, device: str = "cpu", dtype: Any = None) -> Loaded:
    """A causal language model in a folder or of the hub; where the folder holds a PEFT adapter, its
    base with the adapter on. Raises: RunError when it cannot be loaded or has no chat template."""
    transformers = imported("transformers")
    folder = Path(source)
    adapter = folder / "adapter_config.json"
    with quiet():
        try:
            base = _base_of(adapter) if adapter.is_file() else str(source)
            model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
            own = adapter.is_file() and (folder / "tokenizer_config.json").is_file()
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(source) if own else base)
            if adapter.is_file():
                model = imported("peft").PeftModel.from_pretrained(model, str(source))
        except RecipeError:
            raise
        except Exception as error:  # files of somebody else's, read by several libraries
            why = str(error).strip().partition("\n")[0] or type(error).__name__
            raise RunError(
                f"{source} cannot be loaded by transformers {transformers.__version__}: {why}. A "
                "model is embedded/smollm2-135m, a folder, or a name on a reachable hub"
            ) from error
    if tokenizer.chat_template is None:
        raise RunError(f"{source} has no chat template: it is no chat model, or misses a file")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Loaded(model.to(device), tokenizer)


def ends_of(model: Any) -> list[int]:
    """The tokens of which the model's own files say that they end what it writes."""
    own = model.generation_config.eos_token_id
    return [token for token in (own if isinstance(own, list) else [own]) if token is not None]


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """What a disk refuses is said in words, whichever library was writing. Raises: RunError."""
    refused: Any = imported("safetensors").SafetensorError
    try:
        yield
    except (OSError, RuntimeError, refused) as error:
        torchs = isinstance(error, RuntimeError) and "inline_container" in str(error)
        if not torchs and not isinstance(error, OSError | refused):
            raise
        why = "it takes no more" if torchs else getattr(error, "strerror", None) or error
        raise RunError(
            f"{folder} cannot be written: {why}; make room, and the same command goes on"
        ) from error


@contextmanager
def enough_memory() -> Iterator[None]:
    """Raises: RunError where the device has not."""
    try:
        yield
    except RuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        raise RunError(
            "the device has not enough memory: take a smaller --device-batch or --max-length; "
            "the same command goes on from the last checkpoint"
        ) from error


def _base_of(adapter: Path) -> str:
    """The base an adapter was trained on: as karat knows it where karat trained it, since the path
    PEFT notes down is of the machine it was trained on."""
    noted = str(json.loads(adapter.read_bytes()).get("base_model_name_or_path"))
    if Path(noted).is_dir():
        return noted
    try:
        known = json.loads(adapter.with_name("karat.json").read_bytes())["base"]
    except (OSError, ValueError, KeyError):
        return noted
    return str(base_model(str(known), lambda text: None))
