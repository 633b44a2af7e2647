"""The torch side of a model to fine-tune: loading it with a head, LoRA, folding heads, saving.

What is saved is a whole model in Hugging Face's own shape, so that transformers, vLLM, SGLang and
karat load the folder as they load any: `num_labels`, the outputs' names in `id2label`, the padding
token in the configuration, the chat template in the tokenizer. `problem_type: regression` keeps
transformers' pipeline and vLLM from putting a sigmoid or a softmax on the scores. RewardBench's own
script wants one output and reads it through that pipeline with `function_to_apply: none`; it
tokenises the rendered text, so a tokenizer that adds a BOS to a template's gives it two there, as
with any such model.

Full fine-tuning keeps its weights in float32 and computes in bfloat16 where the device can: at a
learning rate of 2e-6 a step is smaller than bfloat16 can add to a weight. LoRA leaves the model's
own weights as they are, so they may rest in bfloat16; what is trained is float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from karat.errors import RecipeError
from karat.models.torch_libraries import imported, quiet
from karat.training.finetune.reader import padding
from karat.training.finetune.settings import RewardSettings
from karat.training.torch_side import writing_to

HEADS = ("score", "classifier")


class Started(NamedTuple):
    """A model ready to be trained; `kept_head`: it came with a head of these outputs."""

    model: Any
    tokenizer: Any
    weights: int
    kept_head: bool


def tokenizer_of(source: str, settings: RewardSettings) -> Any:
    """The tokenizer of a model. Raises: RecipeError."""
    transformers = imported("transformers")
    with quiet():
        try:
            return transformers.AutoTokenizer.from_pretrained(
                source, trust_remote_code=settings.trust_remote_code
            )
        except Exception as error:  # files of somebody else's, read by several libraries
            raise RecipeError(
                f"{source}: its tokenizer cannot be loaded: {_first(error)}"
            ) from error


def start(
    source: str, labels: Sequence[str], settings: RewardSettings, dtype: Any, seed: int
) -> Started:
    """A model with a head for these outputs, drawn from `seed` unless it has one, without dropout.

    Raises: RecipeError where transformers has no such model, or its files are not all there.
    """
    torch, transformers = imported("torch"), imported("transformers")
    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    with quiet():
        try:
            model, seen = transformers.AutoModelForSequenceClassification.from_pretrained(
                source, num_labels=len(labels), id2label=names,
                label2id={name: i for i, name in names.items()}, problem_type="regression",
                dtype=dtype, ignore_mismatched_sizes=True, output_loading_info=True,
                trust_remote_code=settings.trust_remote_code,
            )  # fmt: skip
        except Exception as error:
            raise RecipeError(
                f"{source} cannot be loaded to be trained: {_first(error)}"
            ) from error
    new = {*seen["missing_keys"], *(str(key[0]) for key in seen["mismatched_keys"])}
    body = [key for key in sorted(new) if key.startswith(f"{model.base_model_prefix}.")]
    body = [key for key in body if ".pooler." not in key]
    if body:
        raise RecipeError(f"{source}: its files hold no {body[0]}: a part of the model is missing")
    head_of(model).to(torch.float32)
    _without_dropout(torch, model)
    weights = sum(p.numel() for p in model.parameters())
    return Started(model, tokenizer_of(source, settings), weights, not new)


def head_of(model: Any) -> Any:
    """The layer that gives the scores. Raises: RecipeError."""
    for name in HEADS:
        if (found := getattr(model, name, None)) is not None:
            return found
    raise RecipeError(f"{type(model).__name__} has no head karat knows ({', '.join(HEADS)})")


def _without_dropout(torch: Any, model: Any) -> None:
    """A reward must not depend on chance, and with one pass over the data dropout only adds noise.
    TRL's RewardTrainer does the same."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def set_padding(model: Any, tokenizer: Any, template: str, seen: frozenset[int]) -> int:
    """Give model and tokenizer the padding token, and the template; returns its number."""
    token, new = padding(tokenizer, seen)
    if new:
        tokenizer.add_special_tokens({"pad_token": token})
    tokenizer.pad_token = token
    tokenizer.chat_template = template
    tokenizer.padding_side, tokenizer.truncation_side = "right", "left"
    number = int(tokenizer.convert_tokens_to_ids(token))
    inner = model.config.get_text_config()
    if number >= inner.vocab_size:
        with quiet():
            model.resize_token_embeddings(number + 1, mean_resizing=False)
    inner.pad_token_id = model.config.pad_token_id = number
    return number


def read_out_in_float32(model: Any) -> None:
    """The last product in float32 though the rest is bfloat16, in which a score near 10 moves in
    steps of 1/16 and many answers tie."""
    torch = imported("torch")
    head = head_of(model)
    if not isinstance(head, torch.nn.Linear):
        return

    class ReadOut(torch.nn.Linear):  # type: ignore[misc, name-defined]
        def forward(self, hidden: Any) -> Any:
            with torch.autocast(hidden.device.type, enabled=False):
                return super().forward(hidden.float())

    head.__class__ = ReadOut  # PEFT copies the layer: a hook on it would be of the wrong one


def with_lora(model: Any, settings: RewardSettings) -> Any:
    """The model with adapters on every linear layer, its head trained as a whole."""
    peft = imported("peft")
    name = next(name for name in HEADS if getattr(model, name, None) is not None)
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0,
        target_modules="all-linear", modules_to_save=[name],
    )  # fmt: skip
    with quiet():
        made = peft.get_peft_model(model, config)
        if settings.gradient_checkpointing:  # else nothing before the adapters asks for a gradient
            made.enable_input_require_grads()
    return made


def fold(model: Any, weights_A: Sequence[float]) -> None:
    """Make one head of several: the new output is their weighted sum, exactly, the head being
    linear. Raises: RecipeError where it is not."""
    torch = imported("torch")
    old = head_of(model)
    if not isinstance(old, torch.nn.Linear) or old.out_features != len(weights_A):
        raise RecipeError(f"{type(model).__name__}: its head is not linear: it cannot be folded")
    new = torch.nn.Linear(old.in_features, 1, bias=old.bias is not None)
    weight_A = torch.tensor(weights_A, dtype=torch.float32)
    with torch.no_grad():
        new.weight.copy_((weight_A @ old.weight.float()).unsqueeze(0))
        if old.bias is not None:
            new.bias.copy_((weight_A @ old.bias.float()).unsqueeze(0))
    setattr(model, next(name for name in HEADS if getattr(model, name, None) is old), new)
    model.num_labels = model.config.num_labels = 1
    model.config.id2label, model.config.label2id = {0: "reward"}, {"reward": 0}


def save(model: Any, tokenizer: Any, out: Path, dtype: Any, base: str) -> Any:
    """Write the whole model to `out`, and its adapter to `out/adapter` where it has one, in
    `dtype`; returns the model as written. Raises: RunError for a disk that takes nothing."""
    with quiet(), writing_to(out):
        if hasattr(model, "merge_and_unload"):
            for config in model.peft_config.values():
                config.base_model_name_or_path = base
            model.save_pretrained(str(out / "adapter"))
            (out / "adapter" / "README.md").unlink(missing_ok=True)  # PEFT's empty form
            model = model.merge_and_unload()
        torch = imported("torch")
        head = head_of(model)
        if isinstance(head, torch.nn.Linear):
            head.__class__ = torch.nn.Linear
        model = model.to(dtype)
        model.config.get_text_config().use_cache = True
        model.save_pretrained(str(out))
        tokenizer.save_pretrained(str(out))
    return model


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
