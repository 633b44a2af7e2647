"""What is installed is what was looked at: pinned by digest, of known licences, built the same."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
LOCKS = [path for path in LOCKS if path.name in ("demo.txt", "test.txt", "cluster.txt")]
# Nothing that asks a program that uses it to be under the same licence.
CONTAGIOUS = re.compile(
    r"(?<!L)(?:A?GPL|GNU (?:Affero )?General)|SSPL|CC-BY-NC|Commons Clause", re.I
)


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entries(lock: Path) -> list[str]:
    """One string a package, its digests with it."""
    lines = lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_package_is_pinned_by_version_and_digest(lock: Path) -> None:
    found = entries(lock)
    assert len(found) > 20
    for entry in found:
        assert re.match(r"[\w.\[\],-]+==[\w.!+]+ ", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_locks_agree_with_one_another() -> None:
    pins = tool("dependencies").pins
    demo = pins(ROOT / "requirements" / "demo.txt")
    for lock in LOCKS:
        other = pins(lock)
        assert {name: other[name] for name in demo if name in other} == {
            name: version for name, version in demo.items() if name in other
        }, lock.name
    assert set(demo) <= set(pins(ROOT / "requirements" / "test.txt"))


def test_pip_takes_no_file_with_another_digest(tmp_path: Path) -> None:
    """The lock as it is, but for one digit of what is looked for."""
    (entry,) = [each for each in entries(ROOT / "requirements" / "demo.txt") if "mdurl==" in each]
    lock = tmp_path / "lock.txt"
    lock.write_text(re.sub(r"--hash=sha256:\w+", f"--hash=sha256:{'0' * 64}", entry))
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-r", lock, "-d", tmp_path]
    done = subprocess.run(pip, text=True, capture_output=True, check=False)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_the_core_is_few_packages_of_known_licences() -> None:
    dependencies = tool("dependencies")
    named = dependencies.wanted()
    assert sum(each.extra == dependencies.CORE for each in named) <= 12
    assert all(each.reason for each in named), "each is named with a reason"
    shipped = {*dependencies.pins(ROOT / "requirements" / "demo.txt")}
    shipped |= {each.name for each in named} - set(dependencies.STATED)
    for name in sorted(shipped):
        terms = dependencies.licence(name)
        assert terms, name
        assert not CONTAGIOUS.search(terms), f"{name}: {terms}"


def test_the_page_of_dependencies_is_what_it_would_be_now() -> None:
    dependencies = tool("dependencies")
    assert dependencies.PAGE.read_text(encoding="utf-8") == "".join(dependencies.pages())


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two, built at two places by two processes that differ in what should not matter."""
    made = []
    for number, (umask, zone) in enumerate([(0o022, "UTC"), (0o077, "Asia/Tokyo")]):
        place = tmp_path_factory.mktemp(f"wheel{number}")
        code = (
            f"import os, sys; os.umask({umask}); sys.path.insert(0, {str(ROOT / 'tools')!r}); "
            f"import smoke; from pathlib import Path; print(smoke.build(Path({str(place)!r})))"
        )
        env = {**os.environ, "TZ": zone, "PYTHONHASHSEED": str(number)}
        out = subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, text=True, capture_output=True
        )
        made.append(Path(out.stdout.strip()))
    return made


def test_a_wheel_is_the_same_bytes_wherever_it_is_built(wheels: list[Path]) -> None:
    one, other = (hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels)
    assert one == other
    assert wheels[0].name == wheels[1].name


def test_the_wheel_holds_the_package_and_nothing_else(wheels: list[Path]) -> None:
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"karat"}
    assert not [name for name in names if name.endswith((".pyc", ".sqlite", ".env"))]
    there = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "karat").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == {name for name in names if name.startswith("karat/")}


def test_the_wheel_runs_without_the_checkout(wheels: list[Path], tmp_path: Path) -> None:
    """Unpacked, as pip does it, and first on the path of another process."""
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(tmp_path / "site")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "site"), "NO_KEY": "none"}
    where = "import karat; print(karat.__file__)"
    for script in (["-c", where], [str(ROOT / "tools" / "smoke_run.py")]):
        done = subprocess.run(
            [sys.executable, *script], cwd=tmp_path, env=env, text=True, capture_output=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if script[0] == "-c":
            assert str(tmp_path) in done.stdout
