"""The cluster a run works on: one that is there, or one started for the run on this machine."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import RecipeError, RunError
from karat.executors.ray.job import Pool

MISSING = "--executor ray needs Ray: pip install 'karat[ray]'"
REACH_S = 5.0
_PASSWORD = re.compile(r"postgres(ql)?://([^/@\s]*:[^/@\s]+@|\S*[?&]password=)", re.IGNORECASE)
STORE_BYTES = 512 * 2**20  # of a cluster of this machine's own: rows do not go through it


class Cluster(msgspec.Struct, frozen=True):
    """How a run uses Ray.

    `address` is a cluster's: `auto` for one that runs on this machine, `ray://…` is refused, since
    the driver reads what workers write. Without one a cluster of this machine alone is started and
    ended with the run. `workers` walk rows, by default one a CPU. `pools` are rewards that run in
    actors of their own (karat.executors.ray.pools).
    """

    address: str | None = None
    workers: int | None = None
    pools: dict[str, Pool] = {}

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise RecipeError(f"--workers must be 1 or more, got {self.workers}")
        if self.address is not None and self.address.startswith("ray://"):
            raise RecipeError(
                "--address ray://… is Ray's client for another machine; start karat on a machine "
                "of the cluster, with --address auto"
            )


def check_ray() -> None:
    """Raises: RecipeError where Ray is not installed."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # karat sends nothing to anybody
    try:
        import ray  # noqa: F401
    except ImportError:
        raise RecipeError(MISSING) from None


def connect(cluster: Cluster, folder: Path) -> tuple[Any, bool]:
    """Connects this process; returns Ray, and whether it did not do so before. A copy of `folder`
    goes to machines that are not this one. Raises: RecipeError, RunError."""
    check_ray()
    import ray

    if ray.is_initialized():
        return ray, False
    settings: dict[str, Any] = {
        "logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False,
    }  # fmt: skip
    if cluster.address is not None:
        _check_address(cluster.address)
    try:
        if cluster.address is None:
            copies = sum(pool.copies for pool in cluster.pools.values() if not pool.gpus)
            wanted = max(os.cpu_count() or 1, (cluster.workers or 1) + copies)
            ray.init("local", num_cpus=wanted, object_store_memory=STORE_BYTES, **settings)
        else:
            settings.pop("include_dashboard")
            env = {"working_dir": str(folder), "excludes": EXCLUDED}
            ray.init(cluster.address, runtime_env=env, **settings)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _unreached(error, cluster, folder) from error
    _hush(ray, quiet=True)
    return ray, True


def leave(ray: Any) -> None:
    """Leaves a cluster that `connect` connected with."""
    ray.shutdown()
    _hush(ray, quiet=False)


def _check_address(address: str) -> None:
    """Raises: RunError where nothing listens, which Ray takes minutes to see; RecipeError for a
    command line with a password, which Ray shows to everybody on the cluster."""
    if any(_PASSWORD.search(argument) for argument in sys.argv):
        raise RecipeError(
            "a cluster shows the command line of its jobs to all its users, and this one holds a "
            "password: leave it out of the URL, and set PGPASSWORD on every machine"
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # auto, local
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise RunError(
            f"nothing answers at --address {address} ({error}); is the cluster up, and is this the "
            "address that `ray start --head` said?"
        ) from None


def _unreached(error: Exception, cluster: Cluster, folder: Path) -> RunError:
    said = " ".join(str(error).split())
    if "exceeds the maximum size" in said:
        return RunError(
            f"the folder of the recipe ({folder}) is sent to all machines and is too large for "
            "that; move data out of it, to a place that all of them see"
        )
    where = f"at --address {cluster.address}" if cluster.address else "on this machine"
    hint = ". Are RAY_AUTH_MODE and RAY_AUTH_TOKEN those of the cluster?"
    if cluster.address is None or said.startswith("Version"):
        hint = ""
    return RunError(f"no Ray cluster {where}: {said[:600].rstrip('.')}{hint}")


def _hush(ray: Any, *, quiet: bool) -> None:
    """What Ray prints of processes that were lost, whatever it is told about logs: a run says so
    itself, in words of its own, and has a progress line to draw."""
    worker: Any = getattr(getattr(ray, "_private", None), "worker", None)
    if not hasattr(worker, "print_to_stdstream"):
        return
    if quiet and worker.print_to_stdstream is not _say_nothing:
        _printing.append(worker.print_to_stdstream)
        worker.print_to_stdstream = _say_nothing
    elif not quiet and _printing:
        worker.print_to_stdstream = _printing.pop()


_printing: list[Any] = []


def _say_nothing(*args: Any, **options: Any) -> None:
    pass


# Of the folder that goes to all machines: what is large, and what may hold keys.
EXCLUDED = [
    "runs/", ".git/", ".venv/", "*.parquet", "*.sqlite*", "*.gguf", "*.safetensors",
    ".env*", ".netrc", ".pgpass", ".ssh/", ".aws/", ".config/", "*.pem", "*.key",
]  # fmt: skip


def machines(ray: Any) -> set[str]:
    """Names of the machines that are there."""
    return {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}


def is_one_machine(ray: Any) -> bool:
    """Whether all of the cluster is here, so that a file here is seen by all of it."""
    return machines(ray) <= {socket.gethostname()}


def cpus(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def gpus(ray: Any) -> float:
    return float(ray.cluster_resources().get("GPU", 0))
