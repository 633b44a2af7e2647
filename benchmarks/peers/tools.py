"""Who is measured: which package, at which work, by which adapter, and with which settings.

An adapter is one file that runs in its peer's own environment; it imports nothing of karat's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

from peers.environments import python_of, version_of

HERE = Path(__file__).parent
WORKS = ("orchestrate", "faults", "dedupe", "gateway", "client")
# Nothing is sent anywhere but to the loopback server, and no tool looks for models on a hub.
QUIET = {
    "DO_NOT_TRACK": "1", "TELEMETRY_ENABLED": "false", "NEMO_TELEMETRY_ENABLED": "false",
    "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False",
    "OTEL_SDK_DISABLED": "true", "WANDB_DISABLED": "true",
}  # fmt: skip


class Tool(NamedTuple):
    """A peer; `requirements` names its pins, `package` what its version is read from."""

    name: str
    requirements: str
    package: str
    works: tuple[str, ...]

    @property
    def adapter(self) -> str:
        return self.name.replace("-", "_") + "_peer.py"

    @property
    def version(self) -> str:
        if self.name == "karat":
            from importlib.metadata import version

            return version("karat")
        return version_of(self.requirements, self.package)

    def command(self, work: str) -> list[str]:
        """The start of its adapter's command; makes the environment. Raises: InstallError."""
        own = self.name == "karat"
        python = sys.executable if own else python_of(self.requirements)
        return [python, str(HERE / work / self.adapter)]


ROWS = ("orchestrate", "faults")
KARAT = Tool("karat", "", "karat", (*ROWS, "dedupe"))
PEERS = (
    Tool("distilabel", "distilabel", "distilabel", ROWS),
    Tool("curator", "curator", "bespokelabs-curator", ROWS),
    Tool("data-designer", "data-designer", "data-designer", ROWS),
    Tool("nemo-curator", "nemo-curator", "nemo-curator", (*ROWS, "dedupe")),
    Tool("datatrove", "datatrove", "datatrove", ("dedupe",)),
    Tool("data-juicer", "data-juicer", "py-data-juicer", ("dedupe",)),
    Tool("litellm", "litellm", "litellm", ("gateway", "client")),
)


def environment(home: Path) -> dict[str, str]:
    """What a tool's process sees: quiet, and with caches of its own under `home`."""
    own = {"HF_HOME": home / "hf", "XDG_CACHE_HOME": home / "cache", "HOME": home}
    return {**os.environ, **QUIET, **{name: str(path) for name, path in own.items()}}
