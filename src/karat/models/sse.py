"""Server-sent events: the framing of every streamed answer.

Source: the HTML standard, section "Server-sent events", "Parsing an event stream".
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from karat.errors import ProviderError

MAX_EVENT_BYTES = 16 * 2**20


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    """(event, data) of each event, its data lines joined. Raises: ProviderError when one is huge.

    An event that the end of the stream cut short is not given out. Lines end with LF or CRLF, as
    every service ends them; the standard's lone CR is not taken for an end.
    """
    rest, first = b"", True
    name, size = "", 0
    data: list[bytes] = []
    async for piece in pieces:
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        if len(rest) + size > MAX_EVENT_BYTES:
            raise ProviderError("a streamed event is over 16 MiB", 200, kind="unreadable")
        if first and lines:
            lines[0], first = lines[0].removeprefix(b"\xef\xbb\xbf"), False
        for line in lines:
            line = line.removesuffix(b"\r")
            if not line:
                if data:
                    yield name, b"\n".join(data)
                name, data, size = "", [], 0
            elif line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
                size += len(line)
            elif line.startswith(b"event:"):
                name = line[6:].decode("utf-8", "replace").strip()
