"""The reference pages of the documentation, made from the code each time the site is built.

A page is a function without arguments that returns Markdown; what it says comes from signatures,
docstrings and the tables that the code itself reads. Nothing here is committed as text, so a page
cannot say what the code no longer does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reference import commands, models, parts, python_names, recipes, steps, variables

PAGES: dict[str, tuple[str, Callable[[], str]]] = {
    "recipe": ("Keys of a recipe, and the recipes that ship", recipes.page),
    "steps": ("Every step with its parameters", steps.page),
    "models": ("Keys of a model and of a service, and the services karat knows", models.page),
    "rewards": ("Every kind of reward with its options", parts.rewards),
    "verifiers": ("Every verifier with its options", parts.verifiers),
    "exporters": ("Every export and what it writes", parts.exporters),
    "commands": ("Every command of `karat` with its options", commands.page),
    "python": ("The names of `import karat`", python_names.page),
    "environment": ("Environment variables that karat reads", variables.page),
}


def index() -> str:
    """The first page: what the others hold."""
    lines = [f"- [{said}]({name}.md)" for name, (said, _) in PAGES.items()]
    return "\n".join(
        ["# Reference", "", "Made from the code when this site is built.", "", *lines, ""]
    )


def write(folder: Path) -> list[Path]:
    """Writes every page into `folder`; the files, in the order of the navigation."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"index": index(), **{name: make() for name, (_, make) in PAGES.items()}}
    files = []
    for name, text in pages.items():
        file = folder / f"{name}.md"
        file.write_text(text, encoding="utf-8")
        files.append(file)
    return files
