"""An embedded model becomes a folder that trains: the weights, template and tokens of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from later import later
from tiny_model import CHATML, tiny_model, tiny_tokenizer

from karat.errors import RunError
from karat.models._gguf_base import converted

transformers = later("transformers")

WIDTH, HEADS, KV_HEADS, LAYERS = 64, 4, 2, 2
PARTS = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip


def weights(model: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(model).state_dict()


def pairs_first(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Query and key rows as llama.cpp stores them."""
    halves = matrix.reshape(heads, 2, -1, matrix.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(matrix.shape))


def write_gguf(file: Path, model: Path) -> None:
    """The tiny model as llama.cpp's converter would write it, with SmolLM's kind of vocabulary."""
    state = {name: value.numpy() for name, value in weights(model).items()}
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(128)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    cutter = tiny_tokenizer()
    words = [*cutter.convert_ids_to_tokens(range(259)), "Ġ2", "ĠĠ"]
    writer.add_vocab_size(len(words))
    writer.add_token_list(words)
    writer.add_token_types([1] * 256 + [3] * 3 + [1] * 2)
    writer.add_token_merges(["Ġ 2", "Ġ Ġ"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    writer.add_unk_token_id(258)
    writer.add_pad_token_id(257)  # as SmolLM2's file has it: the end of a turn
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    writer.add_tensor("output.weight", state["lm_head.weight"])
    for layer in range(LAYERS):
        for theirs, ours in PARTS.items():
            value = state[f"model.layers.{layer}.{theirs}.weight"]
            heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(ours)
            value = pairs_first(value, heads) if heads else value
            writer.add_tensor(f"blk.{layer}.{ours}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_weights_template_and_tokens_are_the_files(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", vocab_size=261)
    file = tmp_path / "cache/tiny.gguf"
    file.parent.mkdir()
    write_gguf(file, model)
    (file.parent / "making-1").mkdir()  # of a conversion that was killed
    said: list[str] = []
    folder = converted(file, "embedded/tiny", "ab" * 32, said.append)
    assert len(said) == 2
    made = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for name, value in weights(model).items():
        assert np.array_equal(made.state_dict()[name].numpy(), value.numpy()), name
    assert not hasattr(made.config, "quantization_config")
    assert made.config.pad_token_id == 258
    cutter = transformers.AutoTokenizer.from_pretrained(folder)
    assert (cutter.eos_token, cutter.pad_token) == ("<|im_end|>", "<|pad|>")
    turns = [{"role": "system", "content": "a "}, {"role": "user", "content": "\n\nb é"}]
    for opened in (True, False):
        assert cutter.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=opened
        ) == tiny_tokenizer().apply_chat_template(
            turns, tokenize=False, add_generation_prompt=opened
        )
    # Digits stand alone, as llama.cpp cuts them: the merge of a space and a 2 never happens.
    assert cutter.tokenize("a  22") == ["a", "ĠĠ", "2", "2"]
    assert sorted(path.name for path in file.parent.iterdir()) == [
        ".training.lock", "tiny-for-training", "tiny.gguf",
    ]  # fmt: skip
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert converted(file, "embedded/tiny", "ab" * 32, said.append) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    converted(file, "embedded/tiny", "cd" * 32, said.append)  # other weights: made anew
    assert (folder / "model.safetensors").stat().st_mtime_ns != stamp
    assert len(said) == 4


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(RunError, match=r"cannot read .*tiny\.gguf.*delete the file"):
        converted(file, "embedded/tiny", "ab" * 32, print)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
