"""prov.json: the library for W3C PROV reads it, and every export leads back to what it is of."""

from __future__ import annotations

import json
from hashlib import sha256

import given_away
import pytest
from server import Server

import karat
from karat import RecipeError, Run
from karat.publishing.provenance import provenance

model = pytest.importorskip("prov.model")


def read(tree):
    return model.ProvDocument.deserialize(content=json.dumps(tree), format="json")


def behind(tree, entity):
    """All entities that one was derived from, however far back."""
    edges = [(r["prov:generatedEntity"], r["prov:usedEntity"])
             for r in tree["wasDerivedFrom"].values()]  # fmt: skip
    found, fresh = set(), {entity}
    while fresh:
        fresh = {old for new, old in edges if new in fresh} - found
        found |= fresh
    return found


def test_the_library_reads_it_and_writes_the_same():
    tree = provenance(given_away.run_once())
    document = read(tree)
    again = json.loads(document.serialize(format="json"))
    for kind in ("entity", "activity", "agent"):
        assert set(again[kind]) == set(tree[kind])
    for kind in ("used", "wasGeneratedBy", "wasDerivedFrom", "wasAssociatedWith", "wasInformedBy"):
        assert len(again[kind]) == len(tree[kind]), kind
    assert document == read(again)


def test_an_export_leads_back_to_the_file_that_was_read():
    run = given_away.run_once()
    tree = provenance(run)
    assert behind(tree, "file:export/trl-sft.train.jsonl") == {
        "file:accepted.parquet", "file:stages/reject", "file:stages/read-respond-grade",
    }  # fmt: skip
    used = {(r["prov:activity"], r["prov:entity"]) for r in tree["used"].values()}
    assert ("step:read", "file:input/1/prompts.jsonl") in used
    given = run.path.parent / "given/prompts.jsonl"
    entity = tree["entity"]["file:input/1/prompts.jsonl"]
    assert entity["k:sha256"] == sha256(given.read_bytes()).hexdigest()
    accepted = tree["entity"]["file:accepted.parquet"]
    assert accepted["k:rows"] == given_away.ROWS
    assert accepted["k:sha256"] == sha256(run.accepted_file.read_bytes()).hexdigest()
    assert set(run.report["exports"]) == {
        e["k:export"] for e in tree["entity"].values() if "k:export" in e
    }


def test_steps_name_their_models_and_what_they_used():
    tree = provenance(given_away.run_once())
    made = {
        (r["prov:activity"], r["prov:agent"]): r for r in tree["wasAssociatedWith"].values()
    }  # fmt: skip
    teacher = made["step:respond", "model:openai/loop"]
    assert (teacher["k:role"], teacher["k:kind"], teacher["k:answers"]) == ("teacher", "chat", 24)
    assert ("step:reject", "k:karat") in made
    respond = tree["activity"]["step:respond"]
    assert respond["prov:startTime"] < respond["prov:endTime"]
    assert json.loads(respond["k:parameters"])["n"] == 3
    informed = {(r["prov:informed"], r["prov:informant"]) for r in tree["wasInformedBy"].values()}
    assert ("step:grade", "step:respond") in informed


def test_no_folder_cost_or_price_of_this_machine_is_in_it():
    run = given_away.run_once()
    text = json.dumps(provenance(run))
    assert str(run.path.parent) not in text
    assert "cost" not in text
    assert "http" not in text
    assert "Be /brief." in text  # a word with a slash is no folder


@pytest.fixture
def own_run(tmp_path, length_reward):
    return given_away.make_run(tmp_path, export=["jsonl"])


def test_a_file_that_changed_since_has_no_digest(own_run):
    given = own_run.path.parent / "given/prompts.jsonl"
    given.write_text("{}\n")
    entity = provenance(own_run)["entity"]["file:input/1/prompts.jsonl"]
    assert "k:sha256" not in entity
    assert entity["k:changed_since"] is True
    given.unlink()
    assert "file:input/1/prompts.jsonl" not in provenance(own_run)["entity"]


def test_it_is_made_without_stages_or_recipe_too(own_run):
    for path in own_run.stages.iterdir():
        path.unlink()
    own_run.recipe.write_text(":")
    tree = provenance(own_run)
    read(tree)
    assert "k:parameters" in tree["activity"]["step:respond"]
    assert behind(tree, "file:export/data.train.jsonl") == {"file:accepted.parquet"}


ASK = """
@step
async def ask(row: Row, ctx: Context, *, model: str) -> list[Row]:
    return [
        Row(f"{row.id}-{a.index}", [Message("user", a.content)], calls=[a.call])
        for a in await ctx.chat(model, "Ask.", n=5, temperature=1.0)
    ]
"""


def test_rounds_are_one_set_of_rows(make_recipe, user_module, tmp_path):
    user_module("asks_in_rounds", ASK)
    steps = [{"asks_in_rounds:ask": {"model": "teacher"}}, {"dedupe": {"threshold": 1.0}}]
    with Server(answer=lambda body, place: f"What is {body.get('seed')} by {place}?") as server:
        run = karat.run(make_recipe(server.model(), steps=steps, exactly=12), tmp_path / "out")
    assert run.report["exactly"]["rounds"] > 1
    assert len(list(run.stages.glob("*ask*.parquet"))) > 1
    tree = provenance(run)
    read(tree)
    assert behind(tree, "file:accepted.parquet") >= {"file:stages/ask", "file:stages/dedupe"}
    funnel = {step["label"]: step["rows_out"] for step in run.report["funnel"]}
    assert tree["entity"]["file:stages/ask"]["k:rows"] == funnel["ask"]
    assert tree["activity"]["step:exactly"]["k:parameters"] == "{}"
    assert json.loads(tree["activity"]["step:ask"]["k:parameters"]) == {"model": "teacher"}


def test_a_run_without_an_end_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="run it to the end"):
        provenance(Run(tmp_path))
