"""The part of the EU summary that a dataset can fill in, and blanks for all that it cannot."""

from __future__ import annotations

import re

import msgspec
import pytest
from licensed_runs import GIVEN, LLAMA, QWEN, run

from karat.licensing.solved import Source
from karat.licensing.solver import solve
from karat.publishing.eu_summary import band, eu_summary
from karat.publishing.facts import facts

# The headings of the Commission's template, in order.
HEADINGS = [
    "1. General information", "1.1 Provider identification", "1.2 Model identification",
    "1.3 Modalities, overall training data size and other characteristics",
    "2. List of data sources", "2.1 Publicly available datasets",
    "2.2 Private datasets obtained from third parties",
    "2.3 Data crawled and scraped from online sources", "2.4 User data", "2.5 Synthetic data",
    "2.6 Other sources", "3. Data processing aspects",
    "3.1 Respect of reservation of rights from the text and data mining exception or limitation",
    "3.2 Removal of illegal content", "3.3 Other information",
]  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return facts(run())


def section(text: str, number: str) -> str:
    return text.split(f"# {number} ")[1].split("\n#")[0]


def test_it_has_the_sections_of_the_template(found):
    assert re.findall(r"^##+ (.*)$", eu_summary(found), re.MULTILINE) == HEADINGS


def test_synthetic_data_name_their_models(found):
    made = section(eu_summary(found), "2.5")
    assert f"| `{LLAMA}` | {GIVEN} | `" in made
    assert f"| `{QWEN}` | {GIVEN} | `" in made
    assert "Llama Community License" in made
    assert "chose among the rows: `length`." in made


def test_files_are_told_with_what_only_the_provider_knows_of_them(found):
    text = eu_summary(found)
    assert f"`given.jsonl` (data), CC-BY-4.0, {GIVEN} rows" in section(text, "2.2")
    assert "a file's name does not say" in section(text, "2.2")
    assert "None that is known by its name." in section(text, "2.1")
    assert "Whether given data were crawled" in section(text, "2.3")
    days = found.measured.last
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", days)
    assert f"collection: {days}" in section(text, "1.3")


def test_a_known_dataset_is_a_public_one(found):
    sources = [Source(role="data", name="nvidia/HelpSteer2", by="NVIDIA", licence="CC-BY-4.0")]
    text = eu_summary(msgspec.structs.replace(found, licences=solve(sources)))
    assert "- `nvidia/HelpSteer2` by NVIDIA, CC-BY-4.0; text" in section(text, "2.1")
    assert "None: no file was read." in section(text, "2.2")
    assert "No model wrote any row." in section(text, "2.5")


def test_without_given_data_nothing_is_asked_about_them(found):
    only = [one for one in found.licences.sources if one.role == "generator"]
    text = eu_summary(msgspec.structs.replace(found, licences=solve(only)))
    for number in ("2.3", "2.4"):
        assert "No data were given." in section(text, number)
        assert "to be filled in" not in section(text, number)


def test_what_the_provider_has_to_say_is_blank(found):
    text = eu_summary(found)
    assert section(text, "1.1").count("**[to be filled in]**") == 2
    for number in ("1.2", "2.6", "3.1", "3.2", "3.3"):
        assert "[to be filled in" in section(text, number)
    assert "karat has no detector of illegal content" in text
    assert not re.search(r"(?i)complian|guarantee|fully", text)


@pytest.mark.parametrize(
    ("tokens", "name"),
    [(0, "less than 1 billion tokens"), (10**9, "1 billion to 10 trillion tokens"),
     (10**13, "more than 10 trillion tokens")],
)  # fmt: skip
def test_sizes_are_the_templates(tokens, name):
    assert band(tokens) == name
