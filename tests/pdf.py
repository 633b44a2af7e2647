"""A PDF written by hand: pages of lines, an outline, and what makes one unreadable."""

from __future__ import annotations

from collections.abc import Sequence

# A password that nobody knows: PDFium tries the empty one against the first of these.
LOCKED = (
    b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O (" + b"o" * 32 + b") /U (" + b"u" * 32
    + b") >> /ID [(a) (b)] "
)  # fmt: skip


def pdf(
    pages: Sequence[Sequence[str]], outline: Sequence[tuple[str, int]] = (), trailer: bytes = b""
) -> bytes:
    """The bytes of a file with these lines on each page; `outline` is (title, page from 0)."""
    first = 4  # objects: catalogue, pages, font; then a page and its text in turn; then the outline
    tree = first + 2 * len(pages)
    kids = " ".join(f"{first + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R" + (f" /Outlines {tree} 0 R" if outline else "") + " >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj T*" for line in lines)
        text = f"BT /F1 10 Tf 72 720 Td 14 TL {shown} ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R "
            f">> >> /Contents {first + 2 * number + 1} 0 R >>"
        )
        objects.append(f"<< /Length {len(text)} >>\nstream\n{text}\nendstream")
    if outline:
        last = tree + len(outline)
        objects.append(f"<< /First {tree + 1} 0 R /Last {last} 0 R /Count {len(outline)} >>")
    for number, (title, page) in enumerate(outline, tree + 1):
        near = f" /Next {number + 1} 0 R" if number < last else ""
        near += f" /Prev {number - 1} 0 R" if number > tree + 1 else ""
        place = f"/Dest [{first + 2 * page} 0 R /Fit]"
        objects.append(f"<< /Title ({title}) /Parent {tree} 0 R {place}{near} >>")
    return _file(objects, trailer)


def _file(objects: list[str], trailer: bytes) -> bytes:
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(f"{len(out):010d} 00000 n \n".encode())
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode() + b"".join(places)
    size = f"/Size {len(objects) + 1} /Root 1 0 R ".encode()
    return out + b"trailer << " + size + trailer + f">>\nstartxref\n{start}\n%%EOF".encode()
