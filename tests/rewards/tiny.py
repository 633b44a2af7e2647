"""Reward models of a few thousand weights, saved as any model is, for transformers to load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from later import later
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

torch, transformers = later("torch", "transformers")

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
WITH_BOS = "{{ bos_token }}" + CHATML
# In the manner of Qwen2.5: a default where no system prompt is given.
QWEN = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Tiny. You help.<|im_end|>\n"
    "{% endif %}" + CHATML + "\n"
)
# In the manner of Llama 3.1: words of its own in every system prompt, given or not.
LLAMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set s = messages[0].content %}"
    "{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}"
    "{% if date_string is not defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{% endif %}"
    "<|im_start|>system\nKnowledge ends in 2023\nToday: {{ date_string }}\n\n{{ s }}<|im_end|>\n"
    "{% for m in rest %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
)
SPECIAL = ("<s>", "<|im_start|>", "<|im_end|>")
LONGEST = 512


def tokenizer(template: str | None, *, adds_bos: bool = False) -> Any:
    """One token a byte, and three special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    if adds_bos:
        bos = ("<s>", made.token_to_id("<s>"))
        made.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [bos])
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="<|im_end|>", model_max_length=10**30
    )
    found.chat_template = template
    return found


def config(**more: Any) -> Any:
    return transformers.LlamaConfig(**{
        "vocab_size": 256 + len(SPECIAL), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": LONGEST, "initializer_range": 0.3, "num_labels": 1,
        "bos_token_id": 256, "eos_token_id": 258, "pad_token_id": None, **more,
    })  # fmt: skip


def save(
    folder: Path, template: str | None = CHATML, *, adds_bos: bool = False, seed: int = 0,
    card: str = "---\nlicense: apache-2.0\n---\nA model.", **more: Any,
) -> Path:  # fmt: skip
    """A reward model with random weights, from `seed`, in `folder`."""
    torch.manual_seed(seed)
    model = transformers.LlamaForSequenceClassification(config(**more))
    model.save_pretrained(folder)
    tokenizer(template, adds_bos=adds_bos).save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def save_with_code(folder: Path, source: str, kind: str, **more: Any) -> Path:
    """A model of the class `kind` of its own source, in the manner of RLHFlow/ArmoRM-*."""
    space: dict[str, Any] = {"__name__": "code_of_a_model"}
    exec(compile(source, "modeling_tiny.py", "exec"), space)
    torch.manual_seed(0)
    space[kind](config(**more)).save_pretrained(folder)
    tokenizer(CHATML).save_pretrained(folder)
    (folder / "modeling_tiny.py").write_text(source, encoding="utf-8")
    file = folder / "config.json"
    tree = json.loads(file.read_text())
    tree["auto_map"] = {"AutoModelForSequenceClassification": f"modeling_tiny.{kind}"}
    tree["architectures"] = [kind]
    file.write_text(json.dumps(tree))
    return folder
