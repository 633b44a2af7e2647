"""The dataset card: front matter that the Hub's own code takes, facts, blanks, no claims."""

from __future__ import annotations

import copy
import re

import msgspec
import pytest
import yaml
from huggingface_hub import DatasetCard, DatasetCardData
from licensed_runs import GIVEN, LLAMA, QWEN, run
from markdown_it import MarkdownIt

from karat.errors import RecipeError
from karat.licensing.solved import Source
from karat.licensing.solver import solve
from karat.publishing.card import _size, card, front_matter
from karat.publishing.facts import StepFacts, facts

SECTIONS = [
    "Motivation", "Composition", "Collection process", "Preprocessing, cleaning, labelling",
    "Uses", "Distribution", "Maintenance",
]  # fmt: skip
EVIL = "evil | <script>alert(1)</script>\n---\n# own heading\n[x](javascript:y) \u202e\x1b[2J"


@pytest.fixture(scope="module")
def found():
    return facts(run())


@pytest.fixture(scope="module")
def text(found):
    return card(found)


def changed(found, **more):
    return msgspec.structs.replace(found, **more)


def headings(text: str) -> list[str]:
    tokens = MarkdownIt("commonmark").parse(text)
    return [tokens[n + 1].content for n, one in enumerate(tokens) if one.type == "heading_open"]


def test_the_hubs_own_code_reads_the_front_matter(text):
    read = DatasetCard(text)
    data = read.data
    assert isinstance(data, DatasetCardData)
    assert data.license == "other"  # Llama's terms go with the rows
    assert data.to_dict()["license_name"] == "cc-by-sa-4.0-with-other-terms"
    assert data.size_categories == ["n<1K"]
    assert data.task_categories == ["text-generation"]
    assert set(data.to_dict()["tags"]) == {"karat", "synthetic"}
    assert data.source_datasets == ["original"]
    assert data.language == ["en"]
    assert read.text.lstrip().startswith("# licensed")
    # It writes the same again.
    assert DatasetCard(str(read)).data.to_dict() == data.to_dict()


def test_configurations_name_files_that_are_there(text):
    configs = DatasetCard(text).data.to_dict()["configs"]
    assert [one["config_name"] for one in configs] == ["jsonl", "trl-sft"]
    assert [one.get("default") for one in configs] == [True, None]
    for one in configs:
        for file in one["data_files"]:
            assert (run().path / file["path"]).is_file()


@pytest.mark.parametrize("exports", [["jsonl", "trl-sft"], []])
def test_a_loader_finds_the_rows_by_the_card(found, exports, tmp_path):
    datasets = pytest.importorskip("datasets")
    report = {**found.report, "exports": {n: found.report["exports"][n] for n in exports}}
    (tmp_path / "README.md").write_text(card(changed(found, report=report)))
    (tmp_path / "export").symlink_to(run().export)
    (tmp_path / "accepted.parquet").symlink_to(run().accepted_file)
    datasets.disable_progress_bars()
    for name in exports or ["accepted"]:
        rows = datasets.load_dataset(
            str(tmp_path), name, split="train", cache_dir=str(tmp_path / "cache")
        )
        assert len(rows) == run().report["rows"]["accepted"]


def test_it_has_the_sections_of_a_datasheet(text):
    assert headings(text.split("---", 2)[2]) == ["licensed", *SECTIONS]


def test_it_tells_what_was_made_of_what(text):
    accepted = run().report["rows"]["accepted"]
    assert f"{accepted} prompts with answers" in text
    assert f"| `{LLAMA}` | generator | Llama Community License | conditions | {GIVEN} |" in text
    assert f"| `{QWEN}` | generator | Apache-2.0 | yes | {GIVEN} |" in text
    assert f"| `given.jsonl` | data | CC-BY-4.0 | as the licence says | {GIVEN} |" in text
    assert "Begin the name of a model that is trained on the data" in text
    assert "- Licence: CC-BY-SA-4.0, together with the terms of Llama Community License." in text
    assert "It was not chosen by anybody" in text
    assert re.search(r"people wrote: \d\d%", text)
    for step in run().report["funnel"]:
        assert f"| {step['label']} | {step['rows_in']} | {step['rows_out']} |" in text
    for warning in run().report["warnings"]:
        assert warning.split("%")[0] in text


def test_what_was_not_measured_is_said_and_what_was_is_not(found, text):
    assert "- Evaluation sets: not looked for." in text
    assert "- Personal data: not looked for." in text
    assert "whether rows hold items of evaluation sets" in text
    assert "whether answers are right, by anything but a reward" in text
    notes = {"n": 13, "benchmarks": [
        {"benchmark": "gsm8k", "items": 1319, "items_found": 2, "rows": 3, "examples": []}
    ]}  # fmt: skip
    guard = {"human": {"distinct_3": {"mix": 1, "base": 2, "ratio": 0.5, "interval": [0.4, 0.6]}}}
    steps = [
        _step("decontaminate", notes), _step("mask"), _step("verify"), _step("cross_validate"),
        _step("mix", {"guard": guard}), _step("filters", params={"rules": ["toxicity"]}),
    ]  # fmt: skip
    said = card(changed(found, steps=tuple(steps)))
    assert "`gsm8k` (1,319 items, 2 found in 3 rows, by 13 words in a row)" in said
    assert "`human` `distinct_3`: 0.5 (0.4 to 0.6)" in said
    unmeasured = said.split("Not measured:")[1].split("##")[0]
    assert unmeasured.count("\n- ") == 2 + unmeasured.count("The run warned") * len(found.warnings)


def _step(name, notes=None, params=None) -> StepFacts:
    return StepFacts(name, name, 2, 1, (("why", 1),), 3, notes or {}, params or {})


def test_what_only_a_person_knows_is_a_blank(text):
    assert text.count("**[to be filled in]**") >= 9
    for question in ("For what purpose", "Who funded it", "ethical review", "Who maintains it"):
        (line,) = [line for line in text.splitlines() if question in line]
        assert line.endswith("**[to be filled in]**")


def test_blockers_stand_first_and_no_licence_is_proposed(found):
    blocked = solve([*found.licences.sources, Source(role="data", name="mine.jsonl")])
    said = card(changed(found, licences=blocked, licence="", proposed=False))
    assert said.index("**Not cleared.** 1 thing stands") < said.index("## Motivation")
    assert "no licence stated" in said
    data = DatasetCard(said).data.to_dict()
    assert (data["license"], data["license_name"]) == ("other", "not-cleared")
    assert "- Licence: none fits, see the blockers" in said


def test_a_licence_may_be_chosen_among_those_that_fit():
    assert facts(run(), "cc-by-sa-4.0").licence == "CC-BY-SA-4.0"
    assert not facts(run(), "cc-by-sa-4.0").proposed
    with pytest.raises(
        RecipeError, match=r"cannot be released under MIT: these fit: CC-BY-SA-4\.0"
    ):
        facts(run(), "MIT")


def test_known_datasets_are_named_to_the_hub_and_files_are_not(found):
    more = solve([Source(role="data", name="nvidia/HelpSteer2", licence="CC-BY-4.0"),
                  Source(role="human", name="mine.jsonl", licence="own")])  # fmt: skip
    head = front_matter(changed(found, licences=more, licence="CC-BY-4.0"))
    assert head["source_datasets"] == ["nvidia/HelpSteer2"]
    assert head["license"] == "cc-by-4.0"
    assert head["tags"] == ["karat"]  # no model wrote anything
    assert head["language_creators"] == ["other"]


def test_words_of_others_stay_words(found):
    report = copy.deepcopy(found.report)
    report["name"] = EVIL
    report["warnings"] = [EVIL]
    report["scores"] = {EVIL: next(iter(report["scores"].values()))}
    report["models"][0]["model"] = EVIL
    report["exports"] = {EVIL: {"files": {"train": f"export/{EVIL}.jsonl"}, "rows": 1,
                                "left_out": {EVIL: 1}}}  # fmt: skip
    sources = [Source(role="data", name=EVIL, licence=EVIL, note=EVIL, by=EVIL, document=EVIL)]
    said = card(changed(found, report=report, licences=solve(sources), licence="",
                        steps=(StepFacts(EVIL, EVIL, 1, 0, ((EVIL, 1),), 0, {}, {}),)))  # fmt: skip
    head, body = said.split("---\n", 2)[1:]
    assert yaml.safe_load(head)["pretty_name"].startswith("evil | <script>")
    assert DatasetCard(said).data.to_dict()["configs"][0]["config_name"].startswith("evil")
    tokens = [one for token in MarkdownIt("gfm-like", {"linkify": False}).parse(body)
              for one in (token, *(token.children or ()))]  # fmt: skip
    assert not {"html_inline", "html_block", "image", "hr"} & {one.type for one in tokens}
    links = {one.attrs["href"] for one in tokens if one.type == "link_open"}
    assert links == {"LICENCES.md"}
    assert headings(body)[1:] == SECTIONS
    assert not set("\u202e\x1b") & set(said)


@pytest.mark.parametrize(
    ("rows", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**13, "n>1T")],
)
def test_sizes_are_the_hubs(rows, size):
    assert _size(rows) == size


def test_an_export_that_no_loader_can_tell_apart_is_left_out_of_the_configurations(found):
    report = copy.deepcopy(found.report)
    report["exports"] = {
        "beir": {"rows": 1, "left_out": {}, "files": {
            "corpus": "export/b/corpus.jsonl", "qrels": "export/b/test.tsv"}},
        "split": {"rows": 2, "left_out": {}, "files": {
            "train": "export/s.train.jsonl", "validation": "export/s.validation.jsonl"}},
        "none": {"rows": 0, "left_out": {"empty": 1}, "files": {}},
    }  # fmt: skip
    head = front_matter(changed(found, report=report))
    assert [one["config_name"] for one in head["configs"]] == ["split"]
    assert [file["split"] for file in head["configs"][0]["data_files"]] == ["train", "validation"]
    assert "text-retrieval" in head["task_categories"]
