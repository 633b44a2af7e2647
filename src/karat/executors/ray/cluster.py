"""The cluster a run works on: one that is there, or one started for the run on this machine."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import RecipeError, RunError
from karat.executors.ray.job import Pool

MISSING = "--executor ray needs Ray: pip install 'karat[ray]'"
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


def connect(cluster: Cluster, folder: Path) -> tuple[Any, bool]:
    """Connects this process; returns Ray, and whether it did not do so before. A copy of `folder`
    goes to machines that are not this one. Raises: RecipeError, RunError."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # karat sends nothing to anybody
    try:
        import ray
    except ImportError:
        raise RecipeError(MISSING) from None
    if ray.is_initialized():
        return ray, False
    settings: dict[str, Any] = {
        "logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False,
    }  # fmt: skip
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
        first = str(error).strip().partition("\n")[0]
        where = f"at --address {cluster.address}" if cluster.address else "on this machine"
        raise RunError(f"no Ray cluster {where}: {first}") from error
    return ray, True


EXCLUDED = ["runs/", ".git/", ".venv/", "*.parquet", "*.sqlite", "*.gguf", "*.safetensors"]


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
