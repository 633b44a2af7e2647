"""The page of environment variables: what karat reads, and what it sets unless you do.

What each means is said here, once. The names are looked for in the source as well, and one that is
read and not told stops the build, as does one that is told and no longer read.
"""

from __future__ import annotations

import re
from pathlib import Path

import karat
from karat.models.services import shipped
from reference import markdown as md

READ = {
    "KARAT_CACHE": "The folder of weights that were fetched or converted, and of what processes "
    "that share a server tell each other; by default `$XDG_CACHE_HOME/karat`, else "
    "`~/.cache/karat`.",
    "XDG_CACHE_HOME": "The folder of all programs' caches, where `KARAT_CACHE` is not set.",
    "XDG_CONFIG_HOME": "Where `karat/config.toml` is looked for; by default `~/.config`.",
    "PGPASSWORD": "The password of the journal's database. One that stands in a URL is moved here, "
    "so that it gets into no file.",
    "PGHOST": "The database's host, where the URL names none.",
    "PGDATABASE": "The database's name, where the URL names none.",
    "PGREQUIREAUTH": "How the database's server may ask who karat is; libpq reads it. Where it is "
    "not set no password is sent in the clear.",
    "CUDA_VISIBLE_DEVICES": "Empty or `-1`: a reward model in this process stays on the CPU.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Where spans and metrics go; nothing is sent without it. The "
    "other variables of OpenTelemetry's OTLP exporter count too, also those of one signal "
    "(`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, …).",
    "OTEL_TRACES_EXPORTER": "`none`: no spans. `OTEL_METRICS_EXPORTER`: the same for metrics.",
    "OTEL_SDK_DISABLED": "`true`: nothing is sent.",
    "OTEL_SERVICE_NAME": "What karat calls itself there; by default `karat`.",
    "OTEL_RESOURCE_ATTRIBUTES": "More about this process; `service.name` in it counts as well.",
    "OTEL_BSP_MAX_QUEUE_SIZE": "Spans that may wait to be sent.",
}
SET = {
    "OPENBLAS_NUM_THREADS": "`1` in `karat`'s commands: its matrices are small.",
    "TOKENIZERS_PARALLELISM": "`false` while a model is trained.",
    "OMP_WAIT_POLICY": "`PASSIVE` while a model is trained.",
    "HF_HUB_DISABLE_TELEMETRY": "`1`: karat sends nothing to anybody, and neither do libraries.",
    "RAY_USAGE_STATS_ENABLED": "`0`, for the same reason.",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "`0`: Ray leaves the GPUs of a worker without one alone.",
}
# Read under a name that the source puts together.
_MADE = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER"}
_GET = re.compile(r'environ(?:\.get\(|\[)\s*"([A-Z][A-Z0-9_]+)"|"([A-Z][A-Z0-9_]+)" not in os\.env')
_SET = re.compile(r'environ\.setdefault\(\s*"([A-Z][A-Z0-9_]+)"')


def page() -> str:
    read, given = in_source(Path(karat.__file__).parent)
    for told, found in ((READ, read | _MADE), (SET, given)):
        if set(told) != found:
            raise SystemExit(f"reference/variables.py: {sorted(set(told) ^ found)} differ")
    keys = [
        (md.code(variable), md.inline(service.title or name))
        for name, service in sorted(shipped().items())
        for variable in service.key_env
    ]
    return md.page(
        "# Environment variables",
        "## Read",
        md.table(("variable", "what it says"), [(md.code(k), said) for k, said in READ.items()]),
        "## Keys of services",
        "The first of a service's variables that is set counts. `key_env` of a model or a service "
        "names another one. A key is read, sent, and written nowhere.",
        md.table(("variable", "service"), keys),
        "## Set, unless you do",
        md.table(("variable", "to what"), [(md.code(k), said) for k, said in SET.items()]),
    )


def in_source(folder: Path) -> tuple[set[str], set[str]]:
    """Names of the variables that the modules below a folder read, and of those they set."""
    read: set[str] = set()
    given: set[str] = set()
    for file in folder.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        read |= {one or other for one, other in _GET.findall(text)}
        given |= set(_SET.findall(text))
    return read, given
