"""The tiny Llama of tiny_model as a GGUF file, and a LoRA adapter on it, as PEFT saves one.

Query and key rows are put into llama.cpp's order by the rule that transformers undoes when it reads
a GGUF file, so that the folder and the file are one model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny_model import LONGEST, SPECIAL, tiny_model, tiny_tokenizer

HEADS, KV_HEADS = 4, 2
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def tiny_gguf(folder: Path, *, seed: int = 0, quantised: bool = False) -> tuple[Path, Path]:
    """(the model's folder, the same model's file); of random weights large enough to matter. A
    `quantised` file holds its matrices as Q8_0."""
    import gguf.quants
    import transformers

    made = tiny_model(
        folder / "hf", seed=seed, initializer_range=0.3, rms_norm_eps=1e-5, tie_word_embeddings=True
    )
    file = folder / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(2)
    writer.add_context_length(LONGEST)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(128)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    _add_tokenizer(writer)
    state = transformers.LlamaForCausalLM.from_pretrained(made).state_dict()
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in state.items():
        if name == "lm_head.weight":
            continue
        name, values = _tensor(name, tensor.numpy().astype(np.float32))
        if quantised and values.ndim == 2:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return made, file


def tiny_adapter(
    folder: Path, base: Path, *, seed: int = 1, std: float = 0.05, **more: Any
) -> Path:
    """A LoRA adapter of random weights in both matrices; `more` goes to LoraConfig."""
    import peft
    import torch
    import transformers

    model = transformers.LlamaForCausalLM.from_pretrained(base)
    given = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **more}
    tuned = peft.get_peft_model(model, peft.LoraConfig(**given))
    torch.manual_seed(seed)
    for name, weight in tuned.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=std)
    tuned.save_pretrained(folder)
    return folder


def turned(rows: Any, heads: int) -> Any:
    """The inverse of transformers' LlamaTensorProcessor._reverse_permute_weights."""
    dim = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, dim, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _tensor(name: str, values: Any) -> tuple[str, Any]:
    if not name.startswith("model.layers."):
        return {"model.norm.weight": "output_norm.weight"}.get(name, "token_embd.weight"), values
    _, _, layer, *part, _ = name.split(".")
    kind = NAMES[".".join(part)]
    heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(kind)
    values = turned(values, heads) if heads else values
    return f"blk.{layer}.{kind}.weight", np.ascontiguousarray(values)


def _add_tokenizer(writer: Any) -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer.get_vocab()
    words = sorted(ids, key=ids.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([3 if word in SPECIAL else 1 for word in words])
    writer.add_token_merges(["Ā ā"])  # llama.cpp wants one: of two bytes that no text has
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(tokenizer.chat_template)
