"""The solver: blockers, obligations, what may be trained, what may be released."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.licensing.release import CANDIDATES, GROUPS, allowed
from karat.licensing.solved import Source
from karat.licensing.solver import solve
from karat.licensing.stored import from_report
from karat.licensing.terms import Duty, Terms, table
from karat.models.rights import STRICTNESS, rights_of

ROLES = ("generator", "grader", "data", "human", "documents", "earlier run")
LICENCES = [*(one.names[0] for one in table().licences), "", "other", "a licence of my own",
            "CC-BY-4.0 AND MIT", "Apache-2.0 + Groq terms"]  # fmt: skip
SOURCES = st.builds(
    Source, role=st.sampled_from(ROLES), name=st.sampled_from(["a", "b", "c", "d"]),
    licence=st.sampled_from(LICENCES), training=st.sampled_from([None, *STRICTNESS]),
    note=st.sampled_from(["", "Do this."]), rows=st.sampled_from([None, 0, 7]),
)  # fmt: skip


def model(service: str, name: str, role: str = "generator", rows: int | None = None) -> Source:
    said = rights_of(service, name)
    return Source(role=role, name=f"{service}/{name}", licence=said.licence, note=said.note,
                  training=said.training, document=said.source, rows=rows)  # fmt: skip


def data(licence: str, role: str = "data", **more: object) -> Source:
    return Source(role=role, name=f"{licence or 'x'}.jsonl", licence=licence, **more)


def kinds(found) -> list[str]:
    return [one.kind for one in found]


def keys(found) -> set[tuple[str, ...]]:
    return {(one.kind, one.licence, one.text, one.value) for one in found}


@given(st.lists(SOURCES, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_sources_does_not_matter(sources, random):
    shuffled = list(sources)
    random.shuffle(shuffled)
    assert msgspec.json.encode(solve(shuffled)) == msgspec.json.encode(solve(sources))
    assert solve(sources + sources) == solve(sources)


@given(st.lists(SOURCES, max_size=6), SOURCES)
def test_another_source_takes_no_obligation_and_no_blocker_away(sources, more):
    before, after = solve(sources), solve([*sources, more])
    assert keys(before.blockers) <= keys(after.blockers)
    assert keys(before.obligations) <= keys(after.obligations)
    assert set(before.release.allowed) >= set(after.release.allowed)
    assert set(before.release.beside) <= set(after.release.beside)
    assert before.trains.commercial >= after.trains.commercial
    assert set(before.trains.name_prefix) <= set(after.trains.name_prefix)
    strict = STRICTNESS.index
    assert strict(before.trains.verdict) <= strict(after.trains.verdict)
    for one in before.blockers + before.obligations:  # and none of its causes
        (now,) = [o for o in after.blockers + after.obligations if keys([o]) == keys([one])]
        assert set(one.causes) <= set(now.causes)


@given(st.lists(SOURCES, max_size=6))
def test_nothing_unknown_or_forbidden_is_a_yes(sources):
    found = solve(sources)
    for one in sources:
        if one.training in ("no", "unknown"):
            assert found.trains.verdict in ("no", "unknown")
            assert any(one.name in {c.name for c in b.causes} for b in found.blockers)
    if not found.blockers:
        assert found.release.allowed


def test_what_may_not_be_changed_is_no_yes_to_training_either():
    found = solve([data("cc-by-nd-4.0", training="unknown")])
    assert set(kinds(found.blockers)) == {"no_derivatives", "unknown"}
    assert found.trains.verdict == "unknown"


def test_llama_asks_for_its_name():
    found = solve([model("vllm", "llama-3.3-70b-instruct", rows=5)])
    assert not found.blockers
    assert found.trains.name_prefix == ("Llama",)
    assert found.trains.verdict == "conditions"
    asked = {one.kind: one for one in found.obligations}
    assert asked["built_with"].paste == "Built with Llama"
    assert asked["name_prefix"].causes[0].rows == 5
    assert "700 million" in asked["user_limit"].text
    assert found.release.beside == ("Llama Community License",)
    assert found.release.front_matter() == {
        "license": "other", "license_name": "cc-by-4.0-with-other-terms",
        "license_link": "LICENCES.md",
    }  # fmt: skip


def test_a_llama_that_only_graded_asks_for_its_name_too():
    found = solve([model("vllm", "llama-3.1-8b-instruct", role="grader")])
    assert found.trains.name_prefix == ("Llama",)


@pytest.mark.parametrize(
    ("service", "name", "licence"),
    [
        ("openai", "gpt-5-mini", "OpenAI terms"),
        ("anthropic", "claude-opus-5", "Anthropic terms"),
        ("nvidia", "nvidia/nemotron-4-340b-instruct", "NVIDIA API Trial Terms"),
        ("vllm", "llama-2-70b-chat", "Llama 2 or Llama 3 Community License"),
    ],
)
@pytest.mark.parametrize("role", ["generator", "grader"])
def test_terms_that_forbid_training_block_it(service, name, licence, role):
    found = solve([model(service, name, role), model("vllm", "qwen3-8b")])
    assert [(one.kind, one.licence) for one in found.blockers] == [("forbidden", licence)]
    assert found.blockers[0].source
    assert (found.trains.verdict, found.trains.text) == ("no", "none, until the blockers are gone")


def test_unknown_terms_block_until_somebody_says_them():
    found = solve([model("vllm", "somebodys-own-8b"), data("")])
    assert kinds(found.blockers) == ["unknown", "unknown"]
    assert found.trains.verdict == "unknown"
    assert found.release.allowed == ()
    assert found.release.front_matter()["license_name"] == "not-cleared"
    assert any("`own` if yours" in one.text for one in found.blockers)
    assert not solve([data("own")]).blockers


def test_free_models_and_own_rows_leave_everything_open():
    found = solve([model("embedded", "smollm2-135m"), data("own"), data("CC0-1.0")])
    assert (found.blockers, found.obligations) == ((), ())
    assert found.release.allowed == CANDIDATES
    assert found.release.front_matter() == {"license": "cc-by-4.0"}
    assert found.release.front_matter("CC0-1.0") == {"license": "cc0-1.0"}


def test_attribution_has_a_text_to_paste():
    found = solve([Source(role="data", name="nvidia/HelpSteer2", by="NVIDIA", licence="CC-BY-4.0")])
    (one,) = found.obligations
    assert one.kind == "attribution"
    assert one.paste == (
        "Contains material from nvidia/HelpSteer2 by NVIDIA, under CC BY 4.0 "
        "(https://creativecommons.org/licenses/by/4.0/); changed: selected, cut, graded and mixed."
    )
    assert "to be filled in" in solve([data("CC-BY-4.0")]).obligations[0].paste
    assert found.release.allowed[0] == "CC-BY-4.0"
    assert "CC0-1.0" not in found.release.allowed  # a notice that must stay cannot be waived


def test_a_licence_of_data_binds_rows_and_not_what_a_model_of_that_licence_wrote():
    assert kinds(solve([data("Apache-2.0")]).obligations) == ["notice_file"]
    assert not solve([model("vllm", "qwen3-8b")]).obligations
    assert not solve([Source(role="grader", name="head", licence="CC-BY-4.0 AND MIT")]).obligations


# Which licences Creative Commons' chart gives for an adaptation; rows here, columns there.
CHART = {
    "CC0-1.0": "BY SA NC NCSA CC0", "CC-BY-4.0": "BY SA NC NCSA", "CC-BY-SA-4.0": "SA",
    "CC-BY-NC-4.0": "NC NCSA", "CC-BY-NC-SA-4.0": "NCSA",
}  # fmt: skip
SHORT = {"BY": "CC-BY-4.0", "SA": "CC-BY-SA-4.0", "NC": "CC-BY-NC-4.0", "NCSA": "CC-BY-NC-SA-4.0",
         "CC0": "CC0-1.0"}  # fmt: skip


@pytest.mark.parametrize(("one", "two"), list(itertools.product(CHART, CHART)))
def test_two_licences_go_together_as_the_chart_has_it(one, two):
    fit = {SHORT[name] for name in set(CHART[one].split()) & set(CHART[two].split())}
    found = solve([data(one), data(two, role="human")])
    assert {name for name in found.release.allowed if name.startswith("CC")} == fit
    assert ("incompatible" in kinds(found.blockers)) == (not fit)


def test_licences_that_do_not_go_together_are_named():
    found = solve([data("CC-BY-SA-4.0", rows=3), data("CC-BY-NC-SA-4.0"), data("MIT")])
    (one,) = found.blockers
    assert one.kind == "incompatible"
    assert [cause.name for cause in one.causes] == ["CC-BY-NC-SA-4.0.jsonl", "CC-BY-SA-4.0.jsonl"]
    assert found.release.allowed == ()
    assert found.trains.verdict == "conditions"  # training on it is another matter
    assert not found.trains.commercial


def test_rows_that_may_not_be_changed_block_the_release():
    found = solve([data("CC-BY-ND-4.0")])
    assert kinds(found.blockers) == ["no_derivatives"]
    assert found.release.allowed == ()


def test_what_a_model_for_research_writes_is_not_for_commerce():
    found = solve([model("vllm", "command-r-plus"), data("MIT")])
    assert not found.trains.commercial
    assert set(found.release.allowed) == GROUPS["non_commercial"]


def test_a_model_with_conditions_nobody_has_listed_still_asks_to_be_read():
    one = Source(role="generator", name="m", licence="unknown", training="yes", note="Fine.")
    found = solve([one])
    assert not found.blockers
    assert kinds(found.obligations) == ["read_terms"]


def test_two_names_at_the_beginning_cannot_be(monkeypatch):
    def terms(prefix: str) -> tuple[tuple[str, Terms], ...]:
        duty = Duty("name_prefix", f"Begin with {prefix}.", value=prefix)
        one = Terms(id=prefix, title=prefix, names=(), training="conditions", text="free",
                    duties=(duty,), url="", source="", checked="")  # fmt: skip
        return ((prefix, one),)

    monkeypatch.setattr("karat.licensing.solver.find_all", terms)
    found = solve([data("Llama"), data("Alpaca")])
    assert kinds(found.blockers) == ["names"]
    assert found.trains.verdict == "no"
    assert not solve([data("Llama"), data("Llama", role="human")]).blockers


def test_nothing_fits_all_groups_together():
    assert allowed(GROUPS) == ()
    assert allowed([]) == CANDIDATES


def test_what_a_report_holds_is_solved_by_the_terms_of_today():
    found = solve([model("openai", "gpt-5"), data("CC-BY-4.0", rows=4)], rows=4, notes=["n"])
    tree = msgspec.json.decode(msgspec.json.encode(found))
    assert from_report({"licences": tree}) == found
    assert from_report({"licences": {**tree, "blockers": [], "obligations": 7}}) == found
    assert from_report({}) is None
    assert from_report({"licences": {"sources": [{"role": "other"}]}}) is None
