"""A Llama of about a hundred thousand random weights with a chat template, saved as any model is.

One token a byte, so that no text is out of its vocabulary, and ChatML around the turns. For tests
that train: transformers, TRL and PEFT load the folder as they would any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|pad|>")
LONGEST = 1024


def tiny_tokenizer(template: str | None = CHATML) -> Any:
    """256 bytes and three special tokens; `<|im_end|>` ends a turn, and there is no BOS."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    found = PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=LONGEST,
    )
    found.chat_template = template
    return found


def tiny_model(folder: Path, kind: str = "CausalLM", *, seed: int = 0, **more: Any) -> Path:
    """Writes a LlamaFor`kind` of 2 layers of width 64 with its tokenizer into `folder`.

    `kind` is CausalLM or SequenceClassification (one label); `more` goes to LlamaConfig.
    """
    import torch
    import transformers

    config = transformers.LlamaConfig(**{
        "vocab_size": 256 + len(SPECIAL), "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": LONGEST, "bos_token_id": None, "eos_token_id": 257,
        "pad_token_id": 258, **({"num_labels": 1} if kind != "CausalLM" else {}), **more,
    })  # fmt: skip
    torch.manual_seed(seed)
    getattr(transformers, f"LlamaFor{kind}")(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
