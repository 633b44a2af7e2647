"""What deploy/ holds and docs/cluster.md says: every field, option, file, grace and pin is one.

Neither Docker nor Kubernetes is asked. The fields of a RayJob below were compared with KubeRay's
own schema (ray-operator/config/crd/bases/ray.io_rayjobs.yaml of 1.7); one that is new here must be
looked up there first.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from karat.cli import main
from karat.executors.local import GRACE_S
from karat.journal import open_journal

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
OBJECTS = list(yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text()))
EXTRAS = ("ray", "postgres", "remote", "serve", "embedded", "otel")  # of the image
END_S = 5.0  # for a process to be gone once its work is

FIELDS = {
    "RayJob": "apiVersion kind metadata spec",
    "spec": "entrypoint backoffLimit shutdownAfterJobFinishes ttlSecondsAfterFinished "
    "rayClusterSpec",
    "rayClusterSpec": "rayVersion authOptions headGroupSpec workerGroupSpecs",
    "authOptions": "mode",
    "headGroupSpec": "rayStartParams template",
    "workerGroupSpecs": "groupName replicas minReplicas maxReplicas rayStartParams template",
    "template": "spec",
    "template.spec": "securityContext terminationGracePeriodSeconds containers volumes tolerations",
    "securityContext": "runAsNonRoot runAsUser runAsGroup fsGroup",
    "containers": "name image command env envFrom ports readinessProbe livenessProbe lifecycle "
    "resources volumeMounts",
    "env": "name value valueFrom", "valueFrom": "secretKeyRef", "secretKeyRef": "name key",
    "envFrom": "secretRef", "secretRef": "name optional", "ports": "name containerPort",
    "readinessProbe": "httpGet initialDelaySeconds periodSeconds timeoutSeconds failureThreshold",
    "livenessProbe": "httpGet initialDelaySeconds periodSeconds timeoutSeconds failureThreshold",
    "httpGet": "path port", "lifecycle": "preStop", "preStop": "exec", "exec": "command",
    "resources": "requests limits", "volumeMounts": "name mountPath",
    "volumes": "name persistentVolumeClaim configMap", "persistentVolumeClaim": "claimName",
    "configMap": "name", "tolerations": "key operator effect",
}  # fmt: skip
FREE = ("metadata", "rayStartParams", "requests", "limits")  # their keys are the user's


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [one for one in OBJECTS if one["kind"] == kind]
    return found


CLUSTER = of_kind("RayJob")["spec"]["rayClusterSpec"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
PODS = [group["template"]["spec"] for group in GROUPS]


def run_options(command: str) -> dict[str, Any]:
    """What `karat run` makes of a command line. Fails the test where it takes it for a mistake."""
    words = shlex.split(command)
    assert words[:2] == ["karat", "run"]
    with main.commands["run"].make_context("run", words[2:]) as context:
        return context.params


def test_the_job_has_known_fields_only():
    def walk(value: Any, at: str) -> None:
        if isinstance(value, list):
            for one in value:
                walk(one, at)
        elif isinstance(value, dict) and at not in FREE:
            assert set(value) <= set(FIELDS[at].split()), at
            for key, inner in value.items():
                walk(inner, f"{at}.{key}" if f"{at}.{key}" in FIELDS else key)

    job = of_kind("RayJob")
    assert job["apiVersion"] == "ray.io/v1"
    walk(job, "RayJob")


def test_the_job_runs_karat_as_its_command_line_is():
    said = run_options(of_kind("RayJob")["spec"]["entrypoint"])
    assert (said["executor"], said["address"]) == ("ray", "auto")
    workers = CLUSTER["workerGroupSpecs"][0]
    cpus = int(workers["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert said["workers"] == cpus * workers["replicas"]
    mounts = {m["mountPath"] for m in PODS[0]["containers"][0]["volumeMounts"]}
    assert {str(Path(said["recipe"]).parent), str(said["out"].parent)} <= mounts
    host = re.search(r"@([\w-]+)/", said["journal"])
    assert host is not None
    assert host[1] == of_kind("Service")["metadata"]["name"]
    (postgres,) = of_kind("StatefulSet")["spec"]["template"]["spec"]["containers"]
    most = next(int(a.partition("=")[2]) for a in postgres["args"] if a.startswith("max_conn"))
    assert most >= 3 * said["workers"] + 20


def test_every_node_is_started_as_ray_can():
    pytest.importorskip("ray")
    from ray.scripts.scripts import start

    known = {opt for param in start.params for opt in param.opts}
    given = [group["rayStartParams"] for group in GROUPS]
    assert {f"--{key}" for params in given for key in params} <= known
    script = (DEPLOY / "slurm.sh").read_text()
    begun = re.findall(r"^ *start .+(?:\n  --.+)*|^ *options\+?=\([^)]*\)", script, re.M)
    used = set(re.findall(r"--[a-z][a-z-]+", " ".join(begun)))
    assert {"--head", "--port", "--block", "--num-gpus"} <= used <= known


@pytest.mark.parametrize("pod", PODS, ids=["head", "workers", "gpus"])
def test_pods_are_told_apart_from_root_and_from_each_others_memory(pod):
    assert pod["securityContext"]["runAsNonRoot"]
    (user,) = set(re.findall(r"^USER (\d+)$", DOCKERFILE, re.M))
    assert pod["securityContext"]["runAsUser"] == int(user) > 0
    for container in pod["containers"]:
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert {m["name"] for m in container["volumeMounts"]} <= {v["name"] for v in pod["volumes"]}
    assert {"readinessProbe", "livenessProbe"} <= pod["containers"][0].keys()


@pytest.mark.parametrize("pod", PODS, ids=["head", "workers", "gpus"])
def test_what_is_stopped_has_the_time_to_record_the_calls_under_way(pod):
    ray = pod["containers"][0]
    waits = {one["name"]: float(one["value"]) for one in ray["env"] if "value" in one}
    grace = pod["terminationGracePeriodSeconds"]
    assert waits["RAY_JOB_STOP_WAIT_TIME_S"] > GRACE_S + 2 * END_S
    assert waits["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] > GRACE_S + 2 * END_S
    assert grace > waits["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] + END_S
    if "lifecycle" in ray:
        command = ray["lifecycle"]["preStop"]["exec"]["command"]
        assert grace > float(command[1]) + END_S


def test_the_head_waits_for_its_driver(tmp_path):
    """The hook looks for `karat run` among the processes, and is not what it looks for."""
    *_, loop = PODS[0]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    processes = tmp_path / "proc"
    (processes / "7").mkdir(parents=True)
    once = loop.replace("while", "if").replace("do sleep 1; done", "then exit 3; fi")
    here = once.replace("/proc/", f"{processes}/")

    def ends(*words: str) -> int:
        (processes / "7" / "cmdline").write_text("".join(f"{word}\0" for word in words))
        return subprocess.run(["bash", "-c", here], check=False, timeout=10).returncode

    assert ends("/usr/local/bin/python3.12", "/usr/local/bin/karat", "run", "p.yaml") == 3
    assert ends("bash", "-c", loop) == 0
    assert ends("/usr/local/bin/python3.12", "/usr/local/bin/karat", "serve") == 0


def test_secrets_come_from_secrets():
    def env(value: Any) -> list[dict[str, Any]]:
        if isinstance(value, list):
            return [one for inner in value for one in env(inner)]
        if not isinstance(value, dict):
            return []
        return [*value.get("env", []), *(one for inner in value.values() for one in env(inner))]

    found = [one for thing in OBJECTS for one in env(thing)]
    secret = [one for one in found if re.search("KEY|TOKEN|PASS|SECRET", one["name"])]
    assert len(secret) >= 4
    assert all("value" not in one for one in secret)
    assert not {"Secret", "ConfigMap"} & {one["kind"] for one in OBJECTS}
    assert CLUSTER["authOptions"] == {"mode": "token"}


def test_the_image_is_made_of_what_is_there():
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
        for source in line.split()[:-1]
    ]
    assert {"src", "pyproject.toml"} <= set(sources)
    kept = re.findall(r"^!(.+?)/?$", (ROOT / ".dockerignore").read_text(), re.M)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == one or source.startswith(f"{one}/") for one in kept), source
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {needed["readme"], *needed["license-files"]} <= set(sources)  # the wheel wants them
    stages = re.findall(r"^FROM .+ AS (\w+)$", DOCKERFILE, re.M)
    assert set(re.findall(r"from=(\w+)", DOCKERFILE)) <= set(stages)
    assert not re.search("KEY|TOKEN|PASSWORD|SECRET", DOCKERFILE)


def test_the_pins_of_the_image_are_what_its_extras_ask_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "requirements" / "cluster.txt").read_text().replace("\\\n", "")
    lines = [line.partition("--hash=")[0] for line in text.splitlines()]
    pins = {Requirement(line).name: Requirement(line) for line in lines if line}
    asked = [text for name in EXTRAS for text in project["optional-dependencies"][name]]
    for text in [*project["dependencies"], *asked]:
        wanted = Requirement(text)
        (version,) = {spec.version for spec in pins[wanted.name].specifier}
        assert wanted.specifier.contains(version), text
    (ray,) = {spec.version for spec in pins["ray"].specifier}
    assert ray == CLUSTER["rayVersion"]
    assert {"aiohttp-cors", "s3fs", "gcsfs"} <= pins.keys()  # a RayJob is sent to Ray's dashboard


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_scripts(script):
    subprocess.run(["bash", "-n", script], check=True, timeout=10)
    text = script.read_text()
    assert text.startswith("#!/bin/bash\n")
    assert "set -euo pipefail" in text
    assert script.stat().st_mode & 0o111


def test_slurm_is_asked_for_enough_time_to_end_in():
    text = (DEPLOY / "slurm.sh").read_text()
    (before,) = re.findall(r"^#SBATCH --signal=B:TERM@(\d+)$", text, re.M)
    assert int(before) > GRACE_S + 60  # Slurm may send it a minute late
    done = subprocess.run(["bash", DEPLOY / "slurm.sh"], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr[:6]) == (2, "usage:")


def test_what_the_page_names_is_there():
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True, timeout=10)
    for name in re.findall(r"(?<![\w/])(?:deploy|benchmarks)/[\w.]+", PAGE):
        assert (ROOT / name).exists(), name
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for named in re.findall(r"karat\[([\w,]+)\]", PAGE):
        assert set(named.split(",")) <= extras.keys(), named
    for name in ("karat-models", "karat-store", "karat-recipe"):
        assert f"name: {name}" in (DEPLOY / "kuberay.yaml").read_text()
        assert name in PAGE
    (sent,) = re.findall(r"sbatch deploy/slurm.sh (.+?)\n```", PAGE, re.S)
    assert run_options(f"karat run {sent.replace(chr(92), '')}")["journal"].endswith("schema=p")
    for line in re.findall(r"^karat run [^#\n]+", PAGE, re.M):
        run_options(line)


def test_the_page_gives_the_database_what_karat_needs_of_it(postgres, monkeypatch):
    """Its two statements, by an operator; a journal by the role they make, which may do no more."""
    import psycopg
    from postgres import PASSWORD

    (said,) = re.findall(r"```sql\n(.*?)```", PAGE, re.S)
    operator = postgres.address("")
    where = {"host": operator.host, "port": operator.port, "password": PASSWORD}
    with psycopg.connect(user=operator.user, dbname="postgres", autocommit=True, **where) as base:
        for statement in said.replace("karat", "docs").split(";"):
            if statement.strip():
                base.execute(statement)
        base.execute(psycopg.sql.SQL("ALTER ROLE docs PASSWORD {}").format(PASSWORD))
    journal = open_journal(postgres.address("p", user="docs", database="docs"))
    try:
        assert list(journal.query("SELECT count(*) FROM calls")) == [(0,)]
    finally:
        asyncio.run(journal.close())
    with psycopg.connect(user="docs", dbname="docs", **where) as base:
        row = base.execute("SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles "
                           "WHERE rolname = current_user").fetchone()  # fmt: skip
        assert row == (False, False, False)
