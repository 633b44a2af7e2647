"""From a command's options to a student, and how to use the one that comes out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from karat.models.bases import base_model
from karat.training.student_folder import MERGED, Trained, ends
from karat.training.student_settings import Objective, settings_of
from karat.training.student_source import lessons
from karat.training.students import train_preference, train_sft


def trained(objective: Objective, options: dict[str, Any], say: Callable[[str], None]) -> Trained:
    """What `karat train OBJECTIVE` does: `options` are the command's, with `command` itself.

    Raises: RecipeError, RunError.
    """
    data, model, out = Path(options.pop("data")), options.pop("model"), options.pop("out")
    found = lessons(data, objective, options.pop("command", ""))
    settings = settings_of(options, options.pop("more", ()), objective)
    folder = out or place(data, objective, model)
    how: dict[str, Any] = {"held_out": found.held_out, "source": found.source}
    say(f"{found.source.name}: {len(found.lines):,} lines; starting torch")
    for warning in found.warnings:
        say(f"warning: {warning}")
    if objective == "sft":
        return train_sft(found.lines, model, folder, settings, say, **how)
    return train_preference(found.lines, model, folder, settings, say, objective, **how)


def place(data: Path, objective: str, model: str) -> Path:
    """Where a student goes that is given no folder: into its run, or beside its file."""
    name = re.sub(r"[^\w.-]+", "-", Path(model).name) or "student"
    if data.is_dir():
        return data / "students" / f"{objective}-{name}"
    return data.with_name(f"{data.name.partition('.')[0]}-{objective}-{name}")


def use(student: Trained) -> str:
    """What was trained, whether its loss fell, and how to use it: lines for a terminal."""
    first, last = ends(student.curve)
    rate = student.tokens / max(student.seconds, 1e-9)
    lines = [
        f"{student.folder}: {student.steps:,} steps, {student.tokens:,} tokens, "
        f"{student.seconds:,.0f} s, {rate:,.0f} tokens/s",
        f"loss {first:.4f} over the first quarter, {last:.4f} over the last",
    ]
    for name, (before, after) in student.held_out.items():
        lines.append(f"loss on {name}: {before:.4f} before, {after:.4f} after")
    return "\n".join([*lines, "", *_ways(student)])


def _ways(student: Trained) -> list[str]:
    folder = student.folder.absolute()
    adapter = (folder / "adapter_config.json").is_file()
    lines = []
    if adapter and student.base.startswith("embedded/"):
        lines += ["in a recipe:", f"  student: {{model: {student.base}, adapter: {folder}}}"]
    else:
        lines += [
            "in a recipe, with the server below:",
            "  student: {model: vllm/student, base_url: http://127.0.0.1:8000/v1}",
        ]
    if adapter:
        base = base_model(student.base, lambda text: None)
        lines += [
            "with vLLM:", f"  vllm serve {base} --enable-lora --lora-modules student={folder}",
            "with transformers:", f"  AutoPeftModelForCausalLM.from_pretrained({str(folder)!r})",
        ]  # fmt: skip
    whole = folder / MERGED if adapter else folder
    if whole.is_dir() and (whole != folder or not adapter):
        lines += [
            "whole, with vLLM:" if adapter else "with vLLM:",
            f"  vllm serve {whole} --served-model-name student",
        ]
    return lines
