"""LoRA adapters on an embedded model: what PEFT has trained, as llama.cpp reads it.

A student is a few megabytes beside the base it was trained on, so a loop of many rounds keeps one
base and serves every student from it; nothing is merged and nothing quantised again. A PEFT folder
is converted beside itself once. Its identity is the hash of what was trained, not of where it lies
or of what the conversion wrote, so that answers of two students are never taken for one another's.

llama.cpp stores the rows of Llama's query and key weights in the order its rotary kernel reads
them: pairs (2i, 2i + 1) where Hugging Face has halves (i, i + d/2). W + B·A has the rows of B, so B
is put into that order and A stays as it is.

The matrices are stored as Q8_0, with the rank filled up by zeros to the 32 numbers of a block. With
matrices of floats, llama.cpp's sums depend on how many tokens are computed side by side (0.06 in a
log probability of SmolLM2, whose own Q4_1 turns a last bit into a rounding), and an answer would no
longer be the same at any concurrency; with Q8_0 it is, to the last bit.

Source: LoRA (2106.09685) §4.1; llama.cpp, convert_lora_to_gguf.py, and `permute` in
convert_hf_to_gguf.py.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from karat.errors import RecipeError, RunError
from karat.models.gguf_files import ENDING, LocalFile, file_digest, head

CONFIG, WEIGHTS, CONVERTED = "adapter_config.json", "adapter_model.safetensors", "adapter.gguf"
BLOCK = 32  # numbers of a row that Q8_0 scales together
FROM = "karat.converted_from"  # the adapter's digest, in the converted file's head
# Source: gguf.tensor_mapping, of blocks.
TENSORS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
PERMUTED = ("llama",)  # architectures whose queries and keys llama.cpp stores in its own order
KEEPING = ("qwen2", "qwen3", "gemma2", "gemma3")
# Kinds of adapter that are more than W + B·A, by the key that says so and what it says otherwise.
PLAIN = {
    "use_dora": (False, None), "bias": ("none", None), "modules_to_save": (None, []),
    "trainable_token_indices": (None, []), "alpha_pattern": (None, {}),
    "lora_bias": (False, None), "layer_replication": (None, []), "target_parameters": (None, []),
    "alora_invocation_tokens": (None, []), "use_qalora": (False, None), "fan_in_fan_out": (False,),
    "use_bdlora": (None, False),
}  # fmt: skip
# How matrices begin that leave the base as it was. Others (pissa, olora, corda, loftq, lora_ga)
# take their start off its weights, and what is trained goes with what is left of them.
BEGIN = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
# The text model's own: those of a model of images have layers of the same names.
_NAME = re.compile(
    r"(?:base_model\.)?(?:model\.|language_model\.)*layers\.(\d+)\.(.+)"
    r"\.lora_([AB])(?:\.default)?\.weight"
)
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
Floats = NDArray[np.float32]


class Adapter:
    """An adapter by its path: a folder that PEFT wrote, or a file llama.cpp reads."""

    def __init__(self, path: str | Path) -> None:
        """Raises: RecipeError for what is no adapter, or a kind that llama.cpp has no form for."""
        self.path = Path(path).absolute()
        self._config: dict[str, Any] = {}
        if self.path.is_file():
            LocalFile(self.path)
            return
        missing = [name for name in (CONFIG, WEIGHTS) if not (self.path / name).is_file()]
        if missing:
            raise RecipeError(
                f"adapter: {self.path} has no {missing[0]}; name a folder that PEFT wrote, or a "
                f"{ENDING} adapter"
            )
        self._config = _config(self.path / CONFIG)

    @property
    def digest(self) -> str:
        """What was trained, in hex: of a folder its weights and how they are scaled."""
        if not self._config:
            return file_digest(self.path)
        scaled = f"{self._alpha(1):g} {self._config.get('use_rslora') is True}"
        weights = file_digest(self.path / WEIGHTS)
        return hashlib.sha256(f"lora {scaled} {weights}".encode()).hexdigest()

    def file(self, base: Path) -> Path:
        """The file llama.cpp reads on top of `base`, a GGUF file; written if need be.

        Raises: RunError for an adapter of another model, and where it cannot be written.
        """
        if not self._config:
            return self.path
        made = self.path / CONVERTED
        try:
            if made.is_file() and head(made).get(FROM) == self._stamp():
                return made
        except (OSError, ValueError):
            pass  # cut short, by another program: written again
        try:
            self._convert(base, made)
        except OSError as error:
            raise RunError(f"cannot convert {self.path}: {error.strerror or error}") from error
        except ValueError as error:
            raise RunError(f"cannot convert {self.path} for {base.name}: {error}") from error
        return made

    def _stamp(self) -> str:
        return f"{self.digest} q8_0"

    def _alpha(self, rank: int) -> float:
        """llama.cpp scales by alpha / rank; PEFT, with rslora, by alpha / √rank."""
        alpha = float(self._config["lora_alpha"])
        return alpha * rank**0.5 if self._config.get("use_rslora") else alpha

    def _convert(self, base: Path, to: Path) -> None:
        try:
            import gguf
        except ImportError:
            raise RunError(
                f"{self.path} is not converted yet, which needs gguf; pip install 'karat[train]'"
            ) from None
        shape = head(base)
        tensors = converted(read_safetensors(self.path / WEIGHTS), shape)
        architecture = str(shape["general.architecture"])
        beside = to.with_name(f".{to.name}.{os.getpid()}")
        writer = gguf.GGUFWriter(beside, architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        ranks = {len(matrix) for name, matrix in tensors.items() if name.endswith("lora_a")}
        if len(ranks) > 1:
            raise ValueError("its ranks differ, which has no form with one alpha for all")
        (rank,) = ranks
        filled = -(-rank // BLOCK) * BLOCK  # llama.cpp divides alpha by the rank it finds
        writer.add_float32("adapter.lora.alpha", self._alpha(rank) * filled / rank)
        writer.add_string(FROM, self._stamp())
        kind = gguf.GGMLQuantizationType.Q8_0
        for name, matrix in sorted(tensors.items()):
            grown = _filled(matrix, filled, 0 if name.endswith("lora_a") else 1)
            if grown.shape[1] % BLOCK:
                raise ValueError(
                    f"{name} is {grown.shape[1]} wide, which is no multiple of {BLOCK}"
                )
            writer.add_tensor(name, gguf.quants.quantize(grown, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        beside.replace(to)


def converted(weights: dict[str, Floats], shape: dict[str, Any]) -> dict[str, Floats]:
    """PEFT's matrices under llama.cpp's names, in its order: A (rank, in), B (out, rank).

    `shape` is the base's head. Raises: ValueError for an architecture or a layer whose form in
    llama.cpp is not known.
    """
    kind = str(shape.get("general.architecture"))
    if kind not in (*PERMUTED, *KEEPING):
        raise ValueError(f"karat does not know how llama.cpp lays out '{kind}'")
    turned = _heads(shape, kind) if kind in PERMUTED else {}
    found: dict[str, Floats] = {}
    for name, matrix in weights.items():
        match = _NAME.fullmatch(name)
        if match is None or match[2] not in TENSORS:
            raise ValueError(
                f"it trains {name}; llama.cpp takes adapters of attention and MLP layers "
                f"({', '.join(TENSORS)})"
            )
        layer, part, side = match.groups()
        tensor = TENSORS[part]
        if side == "B" and tensor in turned:
            matrix = permuted(matrix, turned[tensor])
        found[f"blk.{layer}.{tensor}.weight.lora_{side.lower()}"] = matrix
    if not found:
        raise ValueError("it holds no weights")
    return found


def _heads(shape: dict[str, Any], kind: str) -> dict[str, int]:
    """Of queries and of keys. Raises: ValueError where the head does not say how many."""
    heads = shape.get(f"{kind}.attention.head_count")
    found = {"attn_q": heads, "attn_k": shape.get(f"{kind}.attention.head_count_kv", heads)}
    if not all(isinstance(count, int) and count > 0 for count in found.values()):
        raise ValueError("the model's file does not say how many attention heads it has")
    return {name: int(count) for name, count in found.items() if count is not None}


def permuted(matrix: Floats, heads: int) -> Floats:
    """Rows of each head from halves (i, i + d/2) to pairs, as llama.cpp's rotary kernel wants."""
    rows, rest = matrix.shape[0], matrix.shape[1:]
    if rows % (2 * heads):
        raise ValueError(f"{rows} rows are not of {heads} heads: it was trained on another model")
    halves = matrix.reshape(heads, 2, rows // heads // 2, *rest)
    return halves.swapaxes(1, 2).reshape(matrix.shape)


def _filled(matrix: Floats, rank: int, axis: int) -> Floats:
    """With zeros up to that rank: they add nothing."""
    short = rank - matrix.shape[axis]
    return np.pad(matrix, [(0, short if place == axis else 0) for place in (0, 1)])


def read_safetensors(path: Path) -> dict[str, Floats]:
    """Every tensor of a file, as float32; bfloat16, which NumPy lacks, among them.

    Source: github.com/huggingface/safetensors, README, Format. Raises: ValueError, OSError.
    """
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        table = dict(orjson.loads(data[8:start]))
        found: dict[str, Floats] = {}
        for name, entry in table.items():
            if name == "__metadata__":
                continue
            low, high = entry["data_offsets"]
            raw = np.frombuffer(data[start + low : start + high], _DTYPES[entry["dtype"]])
            if entry["dtype"] == "BF16":
                raw = (raw.astype("<u4") << 16).view("<f4")
            found[name] = raw.astype(np.float32).reshape(entry["shape"])
    except (KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is damaged, or of numbers not known here: {error}") from None
    return found


def _config(path: Path) -> dict[str, Any]:
    """adapter_config.json. Raises: RecipeError for what is not plain LoRA."""
    try:
        tree = orjson.loads(path.read_bytes())
        kind, alpha = tree["peft_type"], tree["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"adapter: {path} cannot be read: {error}") from None
    if kind != "LORA" or not isinstance(alpha, int | float):
        raise RecipeError(f"adapter: {path} is {kind}; an embedded model takes LoRA only")
    begin = tree.get("init_lora_weights")
    if (begin.lower() if isinstance(begin, str) else begin) not in BEGIN:
        raise RecipeError(
            f"adapter: {path} began as {begin!r}, which changes the base's weights too: save it as "
            "plain LoRA (PEFT: save_pretrained with path_initial_model_for_weight_conversion)"
        )
    for key, plain in PLAIN.items():
        if key in tree and tree[key] not in plain:
            raise RecipeError(
                f"adapter: {path} has {key} {tree[key]!r}, which llama.cpp has no form for; train "
                "plain LoRA on attention and MLP layers"
            )
    found: dict[str, Any] = tree
    return found
