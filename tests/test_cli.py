"""The command line: quick to start, never a traceback, nothing raw from a model on the terminal."""

from __future__ import annotations

import resource

import pytest
from click.testing import CliRunner
from conftest import run_karat
from server import Server

import karat
from karat.cli import main
from karat.errors import RecipeError
from karat.recipe import Recipe


def karat_cli(*args):
    return CliRunner().invoke(main, list(map(str, args)))


def test_help_costs_less_than_300_ms_of_cpu():
    def cpu():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    spent = []
    for _ in range(3):
        before = cpu()
        status, out, err = run_karat("--help")
        spent.append(cpu() - before)
        assert (status, err) == (0, "")
    assert "run" in out
    assert min(spent) < 0.3


@pytest.mark.parametrize("command", ["run", "plan", "preview", "show", "reward"])
def test_every_command_has_help(command):
    done = karat_cli(command, "--help")
    assert done.exit_code == 0
    assert len(done.output) > 100


@pytest.fixture
def recipe(make_recipe):
    return make_recipe({"model": "openai/x", "base_url": "http://127.0.0.1:9/v1", "attempts": 1}, 2)


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["run", "nowhere.yaml"], 2, "no recipe file nowhere.yaml"),
        (["plan", "nowhere.yaml"], 2, "no recipe file nowhere.yaml"),
        (["preview", "nowhere.yaml"], 2, "no recipe file nowhere.yaml"),
        (["run", "{recipe}", "--set", "respnd.n=2"], 2, "did you mean 'respond'"),
        (["plan", "{recipe}", "--set", "respond.n=0"], 2, "parameter 'n': expected int >= 1"),
        (["run", "{recipe}", "--out", "/proc/karat"], 1, "name another directory in --out"),
        (["run", "{recipe}", "--out", "{out}"], 1, "Is the server running"),
        (["preview", "{recipe}", "--out", "{out}"], 1, "Is the server running"),
        (["plan", "{recipe}", "--out", "{out}", "--probe", "1"], 1, "Is the server running"),
        (["show", "{out}"], 2, "is not a run"),
        (["show", "{recipe}"], 2, "is not a run"),
        (["preview", "{recipe}", "-n", "0"], 2, "Invalid value"),
        (["rnu", "x"], 2, "No such command"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_status(recipe, tmp_path, args, status, message):
    done = karat_cli(*(a.format(recipe=recipe, out=tmp_path / "out") for a in args))
    assert message in done.output
    assert done.exit_code == status
    assert isinstance(done.exception, SystemExit)  # anything else would have been a traceback


@pytest.mark.parametrize(("model", "needed"), [
    ({"model": "openai/gpt-4o-mini"}, "needs OPENAI_API_KEY"),
    ({"model": "openai/x", "base_url": "http://127.0.0.1:9/v1", "key_env": "MY_KEY",
      "price": {"input": 1, "output": 1}}, "the key variable MY_KEY is not set"),
])  # fmt: skip
def test_a_plan_needs_no_key_and_says_that_a_run_does(
    make_recipe, tmp_path, monkeypatch, model, needed
):
    for name in ("OPENAI_API_KEY", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    path, out = make_recipe(model, 5), tmp_path / "out"
    done = karat_cli("plan", path, "--out", out)
    assert done.exit_code == 0
    assert "still to pay: $" in done.stdout
    assert "may train" in done.stdout.lower()
    said = " ".join(done.stderr.split())
    assert "CANNOT RUN YET: " in said
    assert needed in said
    assert [line.label for line in karat.plan(path, out)]
    for asked in (["run"], ["preview"], ["plan", "--probe", "1"]):
        done = karat_cli(*asked, path, "--out", out)
        assert (done.exit_code, needed in done.output) == (2, True)
    with pytest.raises(RecipeError, match=needed):
        karat.run(Recipe.load(path, keyless=True), out)
    assert not out.exists()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("MY_KEY", "k")
    assert "CANNOT RUN" not in karat_cli("plan", path, "--out", out).output


@pytest.mark.parametrize("broken", ["report.json", "accepted.parquet", "dropped.parquet"])
@pytest.mark.parametrize("data", [None, b"", b"{}"])
def test_show_of_a_damaged_run_is_told_in_words(make_recipe, tmp_path, broken, data):
    with Server() as server:
        karat_cli("run", make_recipe(server.model(), 2), "--out", tmp_path / "out")
    path = tmp_path / "out" / broken
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    done = karat_cli("show", tmp_path / "out")
    assert done.exit_code in (1, 2)
    assert isinstance(done.exception, SystemExit)
    assert "error:" in done.output


def test_run_plan_preview_and_show_say_what_is_asked_of_them(make_recipe, tmp_path):
    with Server() as server:
        path = make_recipe(server.model(price={"input": 1, "output": 1}), 5)
        plan = karat_cli("plan", path, "--out", tmp_path / "out").output
        assert "still to pay: $" in plan
        preview = karat_cli("preview", path, "-n", 2, "--out", tmp_path / "out").output
        assert "What is number 1?" in preview
        assert "What is number 2?" not in preview
        done = karat_cli("run", path, "--out", tmp_path / "out")
        assert done.exit_code == 0
        assert "test: 5 accepted, 0 dropped" in done.output
        assert str(tmp_path / "out" / "accepted.parquet") in done.output
    shown = karat_cli("show", tmp_path / "out", "-n", 1).output
    assert "What is number 0?" in shown
    assert "openai/loop" in shown


def test_markup_and_control_codes_of_models_stay_text(make_recipe, tmp_path):
    evil = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202e [bold]kept[/bold] [/nothing] \r over"
    with Server(answer=lambda body, place: evil) as server:
        path = make_recipe(server.model(), 2)
        outputs = [
            karat_cli("preview", path, "--out", tmp_path / "out").output,
            karat_cli("run", path, "--out", tmp_path / "out").output,
            karat_cli("show", tmp_path / "out").output,
        ]
    for text in outputs:
        assert not [c for c in text if c in "\x1b\x07\x9b\u202e\r"]
    assert "[bold]kept[/bold] [/nothing]" in outputs[0]


def test_a_service_that_answers_errors_with_control_codes_does_no_harm(make_recipe, tmp_path):
    reply = b'{"error": {"message": "\\u001b[31mno\\u0007 such [/key]"}}'
    with Server(script=lambda number, body: (401, reply, {})) as server:
        done = karat_cli("run", make_recipe(server.model(), 2), "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert not [c for c in done.output if c in "\x1b\x07"]
    assert "such [/key]" in done.output


def test_a_key_is_nowhere_in_what_a_run_leaves(make_recipe, tmp_path, monkeypatch):
    secret = "sk-1234567890-very-secret"
    monkeypatch.setenv("MY_KEY", secret)
    reply = f'{{"error": {{"message": "your key {secret} is odd"}}}}'.encode()

    def script(number, body):
        return (400, reply, {}) if number % 2 else None

    with Server(script=script) as server:
        done = karat_cli(
            "run", make_recipe(server.model(key_env="MY_KEY"), 6), "--out", tmp_path / "out"
        )
    assert done.exit_code == 0
    assert secret not in done.output
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path.name


def test_piped_progress_is_plain_lines(make_recipe, tmp_path):
    faster = "import karat.report.progress as p; p.PLAIN_EVERY_S = 0.1"
    with Server(latency_s=0.1) as server:
        path = make_recipe(server.model(concurrency=4, price={"input": 1, "output": 1}), 40)
        status, out, err = run_karat("run", path, "--out", tmp_path / "out", prelude=faster)
    assert status == 0
    lines = [line for line in err.splitlines() if line]
    assert len(lines) >= 3
    assert all("respond" in line and "rows/s" in line for line in lines), lines
    assert any("ETA" in line and "$" in line for line in lines)
    assert "\x1b" not in out + err


def test_steps_are_listed_and_explained():
    status, out, _ = run_karat("steps")
    assert status == 0
    assert {"read", "topics", "prompts", "respond", "grade", "reject", "dedupe", "mix"} <= {
        line.split()[0] for line in out.splitlines() if line[:1].strip()
    }
    status, out, _ = run_karat("steps", "respond")
    assert (status, "a list of models" in out, "needed" in out) == (0, True, True)
    status, _, err = run_karat("steps", "respnd")
    assert (status, "did you mean 'respond'" in err) == (2, True)


def test_a_value_of_the_recipe_given_as_an_option_is_told_as_one(make_recipe):
    path = make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}])
    for option, meant in (
        ("--budget", "budget_usd"),
        ("--budget-usd", "budget_usd"),
        ("--seed", "seed"),
    ):
        code, _, error = run_karat("plan", path, option, "5")
        assert code == 2
        assert f"No such option '{option}'. Did you mean '--set {meant}=…'?" in error
