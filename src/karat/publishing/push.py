"""A run's data and papers on the Hugging Face Hub, in one commit.

First all is made and checked here, then the Hub is asked what it has, which takes a token, and only
then, when a person has seen what goes where and who will be able to read it, anything is sent.
Given away are accepted rows, exports and papers: never the journal, which holds prompts and costs,
nor the recipe. What an earlier push left behind and this run no longer makes is removed in the same
commit, because rows of another recipe beside a card that does not know them are worse than none.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
import orjson
import yaml

from karat import places
from karat.errors import KaratError, RecipeError, RunError
from karat.licensing import Solved, solve_run
from karat.licensing.solved import Finding
from karat.publishing.card import card
from karat.publishing.croissant import croissant
from karat.publishing.eu_summary import eu_summary
from karat.publishing.facts import facts
from karat.publishing.files import ACCEPTED, Shipped, accepted_at, export_names, shipped
from karat.publishing.papers import CARD, CROISSANT, EU, LICENCES, licences_page
from karat.publishing.parcel import Parcel
from karat.publishing.provenance import provenance
from karat.report.licences import causes
from karat.rundir import Run, write_atomic

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
HUB = "https://huggingface.co"
PROV = "prov.json"
LEAST_WORDS = 3  # of the sentence that a blocker is set aside with
_REPO = re.compile(r"(?:[\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII)


def prepare(
    run: Run, repo: str, folder: Path, *, what: Sequence[str] = (), private: bool = True,
    anyway: str = "", endpoint: str | None = None, stopped: Callable[[Parcel], None] | None = None,
) -> Parcel:  # fmt: skip
    """Makes the parcel, its papers in `folder`, and asks the Hub what it has; sends nothing.

    `what` names exports, by default all. The papers are those in the run's folder papers/, where a
    person may have filled in the blanks, else new ones. `anyway` sets blockers aside, in a sentence
    that goes into the commit. `stopped` is shown the parcel, as far as it is known here, where it
    ends before the Hub is asked. Raises: RecipeError for what has to be put right here, RunError
    for what the Hub says.
    """
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise RecipeError(f"'{repo}' is no name on the Hub; write it as owner/name or name")
    files = shipped(run, what or None)
    if not run.report["rows"]["accepted"]:
        raise RecipeError(f"{run.path} accepted no row: there is nothing to push")
    solved = solve_run(run)
    try:
        _check_blockers(solved, anyway)
        api = _api(endpoint)
    except RecipeError:
        if stopped is not None:
            address = f"{endpoint or HUB}/datasets/{repo if '/' in repo else f'…/{repo}'}"
            files += _papers(run, files, folder, f"{address}/resolve/main", what)
            draft = Parcel(repo, address, private, None, files, [], None, run.report["name"])
            draft.blockers = [_told(one) for one in solved.blockers]
            stopped(draft)
        raise
    if "/" not in repo:
        repo = f"{_asked(api, lambda: api.whoami())['name']}/{repo}"
    parent, held, private, exists = _look(api, repo, private)
    address = f"{api.endpoint}/datasets/{repo}"
    files += _papers(run, files, folder, f"{address}/resolve/main", what)
    names = {one.name for one in files}
    tables = {name for name in held if name == ACCEPTED or name.startswith(f"{ACCEPTED}/")}
    stale = sorted((held & export_names() | tables) - names)
    return Parcel(
        repo, address, private, exists, files, stale, parent, run.report["name"],
        anyway if solved.blockers else "",
    )  # fmt: skip


def send(parcel: Parcel, endpoint: str | None = None) -> str:
    """Pushes it in one commit and returns the commit's address. Raises: RunError.

    Pushed again, files that the Hub has already are not sent a second time.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api = _api(endpoint)
    operations: list[Any] = [CommitOperationDelete(name) for name in parcel.stale]
    operations += [CommitOperationAdd(one.name, _sendable(one)) for one in parcel.files]
    why = f"Pushed although terms stand in the way: {parcel.anyway}" if parcel.anyway else ""

    def push() -> str:
        if not parcel.exists:
            api.create_repo(parcel.repo, repo_type="dataset", private=parcel.private)
        done = api.create_commit(
            parcel.repo, operations, commit_message=f"Run '{parcel.run}' by karat",
            commit_description=why, repo_type="dataset", parent_commit=parcel.parent,
        )  # fmt: skip
        return str(done.commit_url)

    return _asked(api, push)


def _sendable(one: Shipped) -> Any:
    """The file as the Hub's library takes it; of a store's, a reader."""
    if places.is_remote(one.path):
        return io.BufferedReader(cast(Any, places.stream(one.path)), places.BLOCK)
    return one.path


def _check_blockers(solved: Solved, anyway: str) -> None:
    if not solved.blockers:
        return
    if anyway and len(anyway.split()) < LEAST_WORDS:
        raise RecipeError("--anyway takes a sentence that says why; it goes into the commit")
    if not anyway:
        told = "; ".join(map(_told, solved.blockers))
        raise RecipeError(
            f"not pushed, because terms stand in the way: {told}. Leave these rows out, or say why "
            "it may be published all the same: --anyway 'SENTENCE'"
        )


def _told(blocker: Finding) -> str:
    return f"{blocker.licence}: {blocker.text.rstrip('.')} ({causes(blocker.causes)})"


# --- papers --------------------------------------------------------------------------------------


def _papers(
    run: Run, files: Sequence[Shipped], folder: Path, base_url: str, what: Sequence[str]
) -> list[Shipped]:
    """The five of them, written into `folder`."""
    texts, licences = _written(run, files) or _fresh(run, what)
    described = croissant(run, files, licences=licences, base_url=base_url)
    texts[CROISSANT] = orjson.dumps(described, option=orjson.OPT_INDENT_2)
    texts[PROV] = orjson.dumps(provenance(run, files), option=orjson.OPT_INDENT_2)
    for name, data in texts.items():
        write_atomic(folder / name, data)
    return [Shipped.of(name, folder / name) for name in texts]


def _fresh(run: Run, what: Sequence[str]) -> tuple[dict[str, bytes], list[str] | None]:
    found = facts(run)
    if what:
        exports = {name: found.report["exports"][name] for name in what}
        report = {**found.report, "exports": exports}
        found = msgspec.structs.replace(found, report=report)
    texts = {CARD: card(found), LICENCES: licences_page(found), EU: eu_summary(found)}
    data = {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    return data, [found.licence] if found.licence else None


def _written(
    run: Run, files: Sequence[Shipped]
) -> tuple[dict[str, bytes], list[str] | None] | None:
    """The papers that `karat card` wrote and a person may have filled in, and the licence chosen
    then. Raises: RecipeError where they are not of these rows, or of these files."""
    folder = run.path / "papers"
    if not (folder / CARD).is_file():
        return None
    again = f"run `karat card {run.path}` again, or remove {folder}"
    try:
        if (folder / CARD).stat().st_mtime < accepted_at(run):
            raise RecipeError(f"{folder / CARD} is older than the rows it speaks of: {again}")
        texts = {name: (folder / name).read_bytes() for name in (CARD, LICENCES, EU)}
        licences = orjson.loads((folder / CROISSANT).read_bytes())["license"]
        head = yaml.safe_load(texts[CARD].decode().split("---\n")[1])
        paths = {
            file["path"] for one in head.get("configs") or () for file in one["data_files"]
        }  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise RecipeError(f"the papers in {folder} cannot be read ({error}): {again}") from None
    there = {one.name for one in files} | {f"{one.table}/*.parquet" for one in files}
    if lacking := paths - there:
        raise RecipeError(
            f"{folder / CARD} names {min(lacking)}, which would not be pushed: push all exports, "
            f"or remove {folder}"
        )
    return texts, licences if isinstance(licences, list) else [str(licences)]


# --- the Hub -------------------------------------------------------------------------------------


def _api(endpoint: str | None) -> HfApi:
    """Raises: RecipeError where the library or a token is missing."""
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError:
        raise RecipeError("pushing needs huggingface_hub: pip install 'karat[hub]'") from None
    if not get_token():
        raise RecipeError(
            "nothing was sent: the Hub needs a token of yours that may write; make one at "
            "https://huggingface.co/settings/tokens, then export HF_TOKEN with it, or hf auth login"
        )
    return HfApi(endpoint=endpoint)


def _look(api: HfApi, repo: str, private: bool) -> tuple[str | None, set[str], bool, bool]:
    """(its last commit, the names of its files, whether it is private, whether it exists).

    Raises: RecipeError where it is read by more, or fewer, than was asked for.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    def info() -> Any:
        try:
            return api.dataset_info(repo)
        except RepositoryNotFoundError:
            return None

    found = _asked(api, info)
    if found is None:
        return None, set(), private, False
    if private and not found.private:
        raise RecipeError(
            f"{repo} is there already and anybody can read it: say --public, or make it private "
            "on the Hub first"
        )
    if not private and found.private:
        raise RecipeError(
            f"{repo} is there already and is private: leave out --public, or make it public on the "
            "Hub first"
        )
    held = {sibling.rfilename for sibling in found.siblings or ()}
    return found.sha, held, bool(found.private), True


def _asked(api: HfApi, ask: Callable[[], T]) -> T:
    """What the Hub answers. Raises: RunError in a sentence without the token."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return ask()
    except KaratError:
        raise
    except Exception as error:
        status, said = 0, str(error)
        cause: BaseException | None = error
        while cause is not None and not status:  # the library wraps what an upload met
            if isinstance(cause, HfHubHTTPError):
                status = cause.response.status_code
                said = cause.server_message or said
            elif str(cause) not in said:
                said = f"{said} {cause}"
            cause = cause.__cause__
        raise RunError(f"{api.endpoint}: {_remedy(status, _hidden(said, get_token()))}") from None


def _hidden(said: str, token: str | None) -> str:
    """The Hub's words in one line, without the token."""
    line = " ".join((said.replace(token, "[key]") if token else said).split())
    return line[:300]


def _remedy(status: int, said: str) -> str:
    if status == 401:
        return "the token is not accepted; set HF_TOKEN to one that may write"
    if status in (403, 404):
        return f"the token may not write there ({said}); check the name and the token's rights"
    if status in (409, 412):
        return f"somebody else changed it meanwhile ({said}); run it again"
    if status == 429 or status >= 500:
        return f"it does not take it now ({said or status}); run it again later"
    return f"{said or status}; run it again"
