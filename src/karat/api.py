"""run, plan, preview: what the command line and Python call alike."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

import karat.exporters
from karat.arguments import suggesting
from karat.claiming import claimed
from karat.columns import Table
from karat.context import Services
from karat.driving import drive, listen_again
from karat.errors import RecipeError, did_you_mean
from karat.finish import forget_unfinished, write_results
from karat.journal import Journal, open_journal
from karat.licensing.rows import Licences
from karat.live import written
from karat.mill import Mill
from karat.models.budget import Budget
from karat.models.client import Client
from karat.planning import Plan, check_reachable
from karat.planning import plan as plan_recipe
from karat.recipe import Recipe
from karat.recipefile import parse
from karat.report import grading_page
from karat.report.build import build, ranking_of
from karat.report.notebook import watcher
from karat.rounds import Rounds
from karat.row import Row
from karat.rundir import CLUSTER_LOG, Run, write_atomic
from karat.stage import disk, read_rows, scopes
from karat.telemetry import followed
from karat.walk import Monitor
from karat.yaml12 import dump

if TYPE_CHECKING:
    from karat.executors.ray.cluster import Cluster

Watcher = Callable[[Monitor], "asyncio.Future[None] | asyncio.Task[None]"]


@suggesting
def run(
    recipe: Recipe | str | Path, out: str | Path | None = None, *, progress: bool | None = None,
    data: str | Path | None = None, journal: str | None = None, executor: str = "local",
    address: str | None = None, workers: int | None = None, pools: Sequence[str] = (),
    watch: Watcher | None = None,
) -> Run:  # fmt: skip
    """Runs a recipe to its end and returns its directory; a recipe may be a file or a shipped name.

    Running again replays what the directory's journal holds and pays only for what is missing.
    `out` defaults to runs/NAME. With `progress` rows, rates and cost are shown while it works:
    below the cell in a notebook (there by default), as a table on a terminal, in plain lines where
    the output is none; `watch` is for a display of one's own. `data` is a URL or folder for the
    rows, such as s3://bucket/prefix, `journal` a database for the journal; the directory remembers
    both. With `executor` "ray" rows are walked by `workers` of the cluster at `address`, or of one
    started for this run on this machine; `pools` are rewards that run in processes of their own,
    `name=copies:gpus`. Raises: RecipeError before anything is spent, RunError after.
    """
    cluster = None
    if executor != "local":
        cluster = _cluster(executor, address, workers, pools)
    elif address is not None or workers is not None or pools:
        raise RecipeError("address, workers and pools are of a cluster; use executor ray with them")
    checked, place = _checked(recipe, out, data, journal)
    check_reachable(checked)
    if cluster is not None:  # its processes work elsewhere
        elsewhere, place = place.elsewhere, Run(place.path.absolute())
        place.elsewhere = elsewhere
    _check_name(checked, place)
    with claimed(place):
        place.settle(checked.name)
        drive(_run(checked, place, watch or watcher(progress), cluster))
    return place


def _cluster(
    executor: str, address: str | None, workers: int | None, pools: Sequence[str]
) -> Cluster:
    if executor != "ray":
        raise RecipeError(f"no executor '{executor}'; {did_you_mean(executor, ['local', 'ray'])}")
    from karat.executors.ray.cluster import Cluster, check_ray
    from karat.executors.ray.job import parse_pools

    check_ray()
    return Cluster(address, workers, parse_pools(pools))


@suggesting
def preview(recipe: Recipe | str | Path, n: int = 3, out: str | Path | None = None) -> list[Row]:
    """The first `n` rows end to end, dropped ones among them.

    `recipe` and `out` are those of `run`. Answers are paid for and kept in the run's journal, so
    the run that follows does not buy them again. Raises: RecipeError, RunError.
    """
    if n < 1:
        raise RecipeError(f"n: how many rows to show, 1 or more; got {n}")
    checked, place = _checked(recipe, out)
    with claimed(place), tempfile.TemporaryDirectory() as folder:
        return drive(_preview(checked, place, Path(folder), n))


@suggesting
def plan(recipe: Recipe | str | Path, out: str | Path | None = None, probe: int = 0) -> Plan:
    """What a run would do, call and cost: a list with one line per step and model.

    `recipe` and `out` are those of `run`; what the run there has paid for is left out.

    With `probe`, that many rows are run first (paid for, and kept in the run's journal) and the
    lengths and times of their answers are used. Without it nothing is sent, and no key is needed.
    Raises: RecipeError, RunError.
    """
    checked, place = _checked(recipe, out, keyless=not probe)
    check_reachable(checked)
    if probe:
        preview(checked, probe, out)
    return plan_recipe(checked, place.journal, place.stages)


def _checked(
    recipe: Recipe | str | Path, out: str | Path | None, data: str | Path | None = None,
    journal: str | None = None, *, keyless: bool = False,
) -> tuple[Recipe, Run]:  # fmt: skip
    if not isinstance(recipe, Recipe | str | Path):
        listed = " Put the steps into karat.Recipe([…])." if isinstance(recipe, list) else ""
        raise RecipeError(
            "recipe must be a karat.Recipe, a file, or the name of one that ships, not "
            f"{type(recipe).__name__}.{listed}"
        )
    loaded = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, keyless=keyless)
    if loaded.lacking and not keyless:
        raise RecipeError(f"{loaded.origin}: {loaded.lacking[0]}")
    return loaded, Run.at(out, loaded.name, data, journal)


def _check_name(recipe: Recipe, place: Run) -> None:
    """Raises: RecipeError where the directory holds the run of another recipe."""
    if place.recipe.is_file():
        try:
            held = parse(place.recipe).get("name")
        except RecipeError:  # of a run that was killed before it began
            return
        if held != recipe.name:
            raise RecipeError(
                f"{place.path} holds the run '{held}', which this one ('{recipe.name}') would "
                "replace; name another directory in --out"
            )


@asynccontextmanager
async def opened(
    recipe: Recipe, place: Run, *, shared: bool = False
) -> AsyncIterator[tuple[Services, Journal]]:
    """The run's journal and services; whatever happens, both are closed, the journal last.

    `shared`: other processes write to the journal too.
    """
    journal = open_journal(place.journal, shared=shared)
    try:
        journal.claim()
        ((spent,),) = journal.query("SELECT sum(cost_nano) FROM minutes")
        client = Client(recipe.models, journal, Budget(recipe.budget_usd, spent or 0))
        services = Services(recipe, client, scopes(recipe))
        journal.say = lambda text: client.till.say(text)
        async with followed(journal, recipe.name):
            try:
                yield services, journal
            finally:
                await services.close()
    finally:
        await journal.close()


@asynccontextmanager
async def watched(watch: Watcher | None, monitor: Monitor) -> AsyncIterator[None]:
    """Progress while the block runs."""
    watcher = watch(monitor) if watch else None
    try:
        yield
    finally:
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)


@asynccontextmanager
async def _carried(
    mill: Mill, cluster: Cluster | None, place: Run, journal: Journal
) -> AsyncIterator[None]:
    """The mill's stages carried out by a cluster while the block runs, where there is one."""
    if cluster is None:
        yield
        return
    from karat.executors.ray.executor import RayExecutor
    from karat.executors.ray.faults import explained

    log = place.path / CLUSTER_LOG
    executor = await asyncio.to_thread(
        RayExecutor, cluster, mill.services, mill.monitor, place.journal, journal.since, log
    )
    mill.executor = executor
    listen_again()
    try:
        with explained():
            yield
    finally:
        await asyncio.to_thread(executor.close)


async def _run(
    recipe: Recipe, place: Run, watch: Watcher | None, cluster: Cluster | None = None
) -> None:
    write_atomic(place.recipe, dump(recipe.resolved()).encode())
    forget_unfinished(place)
    started, shared = time.perf_counter(), cluster is not None
    async with written(place) as live, opened(recipe, place, shared=shared) as (services, journal):
        mill = Mill(recipe, services, place.stages)
        live.follow(mill.monitor)
        if watch is not None:
            for line in plan_recipe(recipe, place.journal, place.stages):
                known = mill.monitor.planned_usd.get(line.label, 0.0)
                mill.monitor.planned_usd[line.label] = known + (line.cost_usd or 0.0)
                before = mill.monitor.planned_s.get(line.label, 0.0)
                mill.monitor.planned_s[line.label] = before + line.seconds
        async with _carried(mill, cluster, place, journal):
            async with watched(watch, mill.monitor):
                rounds = Rounds(mill, recipe.exactly) if recipe.exactly else None
                last = await (rounds or mill).turn()
            tasks = mill.executor.spread() if mill.executor else None
            await asyncio.to_thread(_results, recipe, place, mill, Table(last, tasks))
        _finish(recipe, place, mill, journal, started, rounds.result if rounds else None)


def _results(recipe: Recipe, place: Run, mill: Mill, last: Table) -> None:
    """accepted.parquet and dropped.parquet, where the last stage's parts are."""
    graders = {name for call in recipe.steps for _, name in call.named("reward")}
    named = {name: recipe.graders.licence(name, recipe.models) for name in graders}
    rights = {spec.model: spec.rights() for m in recipe.models.values() for spec in m.route()}
    licences = Licences(rights, named, place.journal)
    write_results(last, place, ranking_of(mill), licences)


def _finish(
    recipe: Recipe, place: Run, mill: Mill, journal: Journal, started: float,
    exactly: dict[str, Any] | None,
) -> None:  # fmt: skip
    report = build(place, recipe, mill, journal)
    if exactly is not None:
        report["exactly"] = exactly
    exports = {}
    with disk(place.export):
        _forget_exports(place)
        place.export.mkdir(exist_ok=True)
    for name in recipe.export:
        module = importlib.import_module(f"karat.exporters.{name.replace('-', '_')}")
        done = module.export(place, place.export)
        exports[name] = {
            "files": {
                key: path.relative_to(place.path).as_posix() for key, path in done.files.items()
            },
            "rows": done.rows,
            "left_out": done.left_out,
        }
    report["exports"] = exports
    tallies = mill.monitor.tallies().values()
    report["this_run"] = {
        "seconds": round(time.perf_counter() - started, 3),
        "calls": sum(tally.calls for tally in tallies),
        "answers": sum(tally.answers for tally in tallies),
        "replayed": sum(tally.replayed for tally in tallies),
        "stages_reused": len(mill.monitor.sealed),
    }
    write_atomic(place.report_file, orjson.dumps(report, option=orjson.OPT_INDENT_2))
    place.grading_file.unlink(missing_ok=True)  # of an earlier form of the recipe
    if grading_page.is_wanted(report):
        write_atomic(place.grading_file, grading_page.page(report).encode("utf-8", "replace"))


def _forget_exports(place: Run) -> None:
    """Removes what an earlier run exported: it would stay behind with rows of another recipe."""
    for info in pkgutil.iter_modules(karat.exporters.__path__):
        module = importlib.import_module(f"karat.exporters.{info.name}")
        for name in getattr(module, "FILES", ()):
            (place.export / name).unlink(missing_ok=True)


async def _preview(recipe: Recipe, place: Run, folder: Path, n: int) -> list[Row]:
    async with opened(recipe, place) as (services, _):
        return list(read_rows(await Mill(recipe, services, folder, limit=n).turn()))
