"""What the exports for NVIDIA's trainers share: conversations they take, and their config files.

Each export writes the section of the trainer's configuration that names its files, because the
keys differ between the two trainers and their versions, and most of them are ignored in silence
where they are misspelt. Paths in it start with `${oc.env:DATA}`, which OmegaConf reads when
training starts: the folder can be moved to the machine that trains, and a run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from karat.exporters.base import Exported, Lines
from karat.row import Message

VERBS = {"train": "train on", "validation": "validate on"}
ROLES = ("user", "assistant")
# What opens a system prompt, a turn and a label in NeMo-Aligner's templates, by default and with
# the tokens of its own guides: inside a text they would open one as well.
MARKS = ("<extra_id_", "\x00", "\x11", "\x12")


def why_not(messages: Iterable[Message], responses: Iterable[str] = (), *, marked: bool) -> str:
    """Why a prompt with its answers is no conversation for NeMo; empty where it is one.

    That is a system prompt at most, then user and assistant in turn, a question last. `marked`
    says that the trainer writes turns out with marks of its own, which texts must not hold.
    """
    turns = list(messages)
    if not turns:
        return "no prompt"
    spoken = turns[1:] if turns[0].role == "system" else turns
    if any(turn.role == "system" for turn in spoken):
        return "system prompt after the first turn"
    roles = [turn.role for turn in spoken]
    if any(role not in ROLES for role in roles):
        return "turn of neither user nor assistant"
    if any(role != ROLES[place % 2] for place, role in enumerate(roles)) or len(roles) % 2 == 0:
        return "turns do not alternate up to a question"
    if any(not turn.content.strip() for turn in spoken):
        return "empty turn"
    texts = [*(turn.content for turn in turns), *responses]
    if marked and any(mark in text for mark in MARKS for text in texts):
        return "text with a mark of NeMo-Aligner's template"
    return ""


def write_config(made: Exported, path: Path, text: str) -> None:
    """Writes the configuration beside its files; none where there is nothing to train on."""
    with Lines(path) as out:
        if "train" in made.files:
            out.put(text.encode())
    if out.count:
        made.files["config"] = path


def named(path: Path) -> str:
    """A file of this folder, as a configuration names it."""
    return f"${{oc.env:DATA}}/{path.name}"


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with its `<name>` replaced: braces and dollars belong to OmegaConf."""
    for name, value in values.items():
        template = template.replace(f"<{name}>", value)
    return template


def rl_files(made: Exported, whole: Path, validation: str, none: str) -> dict[str, str]:
    """NeMo-RL's files: a validation part opens with `validation`; without one `none` is set."""
    part = made.files.get("validation")
    return {
        "validation_settings": "" if part else none,
        "validation": validation + named(part) if part else " null",
        "train": named(made.files.get("train", whole)),
    }


def aligner_files(made: Exported, whole: Path) -> dict[str, str]:
    """The files of NeMo-Aligner's three parts, all of which it must have, and what to know of them.

    A part that the run does not have is read from the one before: there is no other way to start.
    """
    train = made.files.get("train", whole)
    validation = made.files.get("validation", train)
    notes = []
    if validation == train:
        notes.append("# This run has no validation part (`split` makes one): train stands for it.")
    sizes = {name: _count(path) for name, path in made.files.items() if name != "test"}
    counts = ", ".join(f"{count:,} lines to {VERBS[name]}" for name, count in sizes.items())
    notes.append(f"# global_batch_size must be at most {min(sizes.values(), default=0)}: {counts}.")
    return {
        "train": named(train),
        "validation": named(validation),
        "test": named(made.files.get("test", validation)),
        "note": "\n".join(notes),
    }


def _count(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)
