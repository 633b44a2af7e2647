"""The page of commands: what `--help` says of each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from karat.cli import main
from reference import markdown as md

HEAD = (
    "`karat COMMAND --help` says the same on a terminal. A command ends with status 2 where the "
    "recipe or an option is wrong and nothing was spent, with 1 where a run had to stop, and with "
    "130 after Ctrl-C; what was paid for is kept, and the same command goes on."
)


def commands(group: click.Group, path: str = "karat") -> Iterator[tuple[str, click.Command]]:
    """(name, command) of every command below a group, by name; a group before its own."""
    for name in sorted(group.commands):
        command, whole = group.commands[name], f"{path} {name}"
        yield whole, command
        if isinstance(command, click.Group):
            yield from commands(command, whole)


def page() -> str:
    made = [_command(name, command) for name, command in commands(main)]
    return md.page("# Commands", HEAD, *made)


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    records = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context))
        and (isinstance(parameter, click.Option) or record[1])  # the usage names the others
        and "--help" not in parameter.opts
    ]
    rows = [(md.code(option), md.inline(said)) for option, said in records]
    return md.page(
        f"## {name}",
        md.fenced(usage, "text"),
        help_text(command),
        md.table(("option", "what it says"), rows),
    ).rstrip()


def help_text(command: click.Command) -> str:
    """A command's help; what click is told not to wrap stands as it is written."""
    text = inspect.cleandoc(command.help or "").partition("\f")[0]
    parts = re.split(r"\n\n|^(?=\b)", text)
    return "\n\n".join(
        md.fenced(part.removeprefix("\b\n"), "text") if part.startswith("\b") else md.prose(part)
        for part in parts
        if part
    )
