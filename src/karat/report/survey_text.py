"""A survey on a terminal: every figure with what it means, groups, columns, repeats."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.report.cells import LINE, clean, grid
from karat.report.measures import MEASURES, ends, shown
from karat.report.survey import Survey

PAIR_CHARS = 160


def survey_text(found: Survey) -> RenderableType:
    """All of it."""
    head = f"{found.name}: {headline(found)}"
    parts: list[RenderableType] = [clean(head, 4 * LINE, "bold"), Text()]
    parts += [_measures(found), Text()]
    if len(found.groups) > 1:
        parts += [_groups(found), Text()]
    if found.columns:
        parts += [_columns(found), Text()]
    parts += [*_repeats(found), *(clean(note, 4 * LINE, "dim") for note in notes(found))]
    return Group(*parts)


def headline(found: Survey) -> str:
    """How much was surveyed, and its first figure in words."""
    rows, value = found.measures["rows"], found.measures["vendi_embedding"]
    many = f"{rows:,} {plural(found.on, rows)}"
    return f"{many}, in meaning as varied as {value:.3g} wholly different ones"


def plural(on: str, count: int) -> str:
    return on if count == 1 else f"{on}s"


def notes(found: Survey) -> list[str]:
    """What a reader must know of how it was measured."""
    measures = found.measures
    said = []
    if found.column:
        said.append(f"The texts are those of the column '{found.column}'.")
    if found.questions:
        which = "All" if found.questions == measures["rows"] else f"{found.questions:,}"
        said.append(f"{which} are measured by their question, without the passage it is about.")
    if measures["sampled"] < measures["rows"]:
        said.append(
            f"Measured on {measures['sampled']:,} of {measures['rows']:,}, drawn at random, always "
            "the same."
        )
    if measures["compared"] < measures["sampled"]:
        said.append(
            f"Distance in meaning, self-BLEU and similarity are of {measures['compared']:,} of "
            "them: all three move with the number compared."
        )
    if unknown := int((found.label < 0).sum()):
        said.append(f"{unknown:,} have no word the embeddings know; they are in no cluster.")
    if measures.get("intervals"):
        said.append("Intervals at 95%, from half samples: other texts of this kind, as many.")
    said += [f"Left out: {count:,} {reason}." for reason, count in found.left_out.items()]
    said.append("Compare data sets of similar size and length of text only.")
    return said


def _measures(found: Survey) -> Table:
    table = grid("measure", "value", "95% interval")
    table.add_column("better", no_wrap=True)
    table.add_column("what it says", style="dim", ratio=1)
    for measure in MEASURES:
        value = shown(measure, found.measures[measure.key])
        table.add_row(
            measure.label, value, ends(measure, found.measures), measure.good, measure.meaning
        )
    return table


def _groups(found: Survey) -> Table:
    table = grid("cluster", found.on + "s", "share")
    total = sum(one.texts for one in found.groups)
    for one in found.groups:
        table.add_row(clean(one.name, LINE), f"{one.texts:,}", f"{one.texts / total:.1%}")
    return table


def _columns(found: Survey) -> Table:
    table = grid("column", "values", "evenness", "effective", "largest")
    table.add_column("the largest is", style="dim")
    for name, one in found.columns.items():
        table.add_row(clean(name, LINE), *column_cells(one), clean(one["commonest"], LINE))
    return table


def column_cells(one: dict[str, Any]) -> list[str]:
    """Values, evenness (1: all equally common), effective number of values, largest share."""
    return [
        f"{one['values']:,}", f"{one['evenness']:.2f}", f"{one['effective']:.3g}",
        f"{one['largest']:.0%}",
    ]  # fmt: skip


def repeated(found: Survey) -> str:
    """How many repeat another, in words; empty where none does."""
    exact = found.exact
    share = max(found.measures["near_duplicates"], exact)  # texts without a word are equal at most
    if not found.repeats and not found.pairs:
        return ""
    return f"{share:.1%} repeat another {found.on}" + (
        f", {exact:.1%} word for word" if exact else ""
    )


def _repeats(found: Survey) -> list[RenderableType]:
    if not (told := repeated(found)):
        return [Text(f"No {found.on} repeats another."), Text()]
    parts: list[RenderableType] = [Text(told)]
    if found.repeats:
        parts.append(Text("most often word for word:"))
        folded = ((f"{one.times:,} × ", " ".join(one.text.split())) for one in found.repeats)
        parts += [Text.assemble(times, clean(text, PAIR_CHARS)) for times, text in folded]
    if found.pairs:
        parts.append(Text("most alike of different ones:"))
    for pair in found.pairs:
        first, second = (" ".join(text.split()) for text in (pair.first, pair.second))
        parts += [
            Text.assemble(f"{pair.similarity:.2f}  ", clean(first, PAIR_CHARS)),
            Text.assemble("      ", clean(second, PAIR_CHARS)),
        ]
    return [*parts, Text()]
