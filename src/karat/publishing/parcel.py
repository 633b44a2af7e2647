"""What a push would send and where to, and how it is shown to the person who decides."""

from __future__ import annotations

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from karat.publishing.files import Shipped
from karat.report.cells import LINE, clean, grid, size


class Parcel(msgspec.Struct):
    """What would be pushed: `files` by their names there, `stale` names that would be removed.

    `repo` is owner/name; `exists` and `private` say what it is there, or would become; `exists` is
    None where the Hub was not asked yet; `blockers` are told then. `anyway` is why they were set
    aside, empty where there are none.
    """

    repo: str
    address: str
    private: bool
    exists: bool | None
    files: list[Shipped]
    stale: list[str]
    parent: str | None
    run: str
    anyway: str = ""
    blockers: list[str] = []

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(one.size for one in self.files)


def parcel_table(parcel: Parcel) -> RenderableType:
    """Who will be able to read it, every file with its size, and what goes away."""
    readers = "private" if parcel.private else "public: anybody can read it"
    state = "is there" if parcel.exists else "is made anew"
    state = "the Hub was not asked" if parcel.exists is None else state
    table = grid("file", "size")
    for one in parcel.files:
        table.add_row(clean(one.name, LINE), size(one.size))
    table.add_row(Text("in all", "bold"), Text(size(parcel.size), "bold"))
    parts: list[RenderableType] = [
        clean(f"{parcel.address} ({state}, {readers})", LINE, "bold"), Text(), table,
    ]  # fmt: skip
    parts += [clean(f"removed there: {name}", LINE, "yellow") for name in parcel.stale]
    parts += [clean(f"stands in the way: {one}", style="red") for one in parcel.blockers]
    if parcel.anyway:
        parts.append(clean(f"terms stand in the way; pushed because: {parcel.anyway}", style="red"))
    return Group(*parts, Text())
