"""The report of a run on paper: every section is there, the pages are few and light."""

from __future__ import annotations

import pytest
from seen_run import seen_run

from karat.report.run_report import write_report

SECTIONS = (
    "What was made", "Where rows went", "Rewards", "Best of k", "Guards", "Models",
    "What each step cost", "What was measured", "Licences",
)  # fmt: skip


def test_a_report_prints_whole_and_light(page, tmp_path):
    pdfium = pytest.importorskip("pypdfium2")
    path = tmp_path / "report.html"
    write_report(seen_run(), path)
    opened = page(path.as_uri(), dark=True)
    printed = tmp_path / "report.pdf"
    opened.pdf(path=printed, format="A4", print_background=True)
    with pdfium.PdfDocument(printed) as document:
        pages = [document[number] for number in range(len(document))]
        text = " ".join(" ".join(one.get_textpage().get_text_bounded() for one in pages).split())
        dark = [float((one.render(scale=0.5).to_numpy() < 90).mean()) for one in pages]
    for section in SECTIONS:
        assert section in text, section
    assert len(pages) <= 15  # 40 rows of 4 answers among them
    assert max(dark) < 0.1  # ink on white paper, although the screen is dark
