# Two commands do everything: `make demo` and `make test`. Both make .venv first.
PYTHON ?= python3
BIN := .venv/bin
# Hundreds of tests start Python: it keeps what it compiled, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Installs two hundred pinned packages in 15 seconds, where pip with their digests takes four minutes.
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps

.PHONY: demo test lint types layers pytest long cluster faults fuzz docs audit smoke lock clean

demo: .venv/demo.stamp
	$(BIN)/karat run quickstart

# mypy takes a minute of one core while most of the tests' first minute goes by.
test: lint layers
	@$(MAKE) --no-print-directory -j 2 types pytest

lint: .venv/test.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/test.stamp
	$(BIN)/mypy

layers: .venv/test.stamp
	$(BIN)/lint-imports --no-cache

# Three workers on two cores: many tests wait for a server's pace or for a process of their own.
pytest: .venv/test.stamp
	KARAT_BROWSER=required KARAT_POSTGRES=required $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# With the long ones of every kind: kills, faults, fuzz, Ray and what takes many seconds. Hours.
long: .venv/test.stamp
	KARAT_TESTS=all KARAT_CLUSTER=all KARAT_FAULTS=all KARAT_FUZZ=all KARAT_DOCS=all KARAT_BROWSER=required \
	  KARAT_POSTGRES=required $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --timeout 3600

# All on Ray, of which `make test` has a part: more runs and faults, two nodes, Slurm's script.
cluster: .venv/test.stamp
	KARAT_CLUSTER=all KARAT_POSTGRES=required $(BIN)/python -m pytest tests/executors tests/test_deploy.py

# Every fault there is a name for, and 150 seeded kills, of which `make test` has a part.
faults: .venv/test.stamp
	KARAT_FAULTS=all KARAT_POSTGRES=required $(BIN)/python -m pytest tests/faults -n 3 --dist loadfile

# What `make test` tries of each parser and of the gateway, many times over; fuzz/README.md has more.
fuzz: .venv/test.stamp
	KARAT_FUZZ=all $(BIN)/python -m pytest tests/fuzz tests/web/gateway/test_gateway_schemathesis.py -n 2 --dist loadfile
	for t in $(patsubst fuzz/fuzz_%.py,%,$(wildcard fuzz/fuzz_*.py)); do $(BIN)/python fuzz/run.py $$t --seconds 60 || exit 1; done

# The documentation as a site, in site/.
docs: .venv/test.stamp
	$(BIN)/python tools/docs_site.py

# What is known to be wrong with anything that is installed. It asks the advisory database.
audit: .venv/test.stamp
	$(BIN)/uv tool run pip-audit==2.10.1 --requirement requirements/test.txt --disable-pip --require-hashes
	$(BIN)/uv tool run pip-audit==2.10.1 --requirement requirements/cluster.txt --disable-pip --require-hashes

# The wheel in clean environments, one for each Python from 3.11 to 3.14 that is here.
smoke: .venv/test.stamp
	$(BIN)/python tools/smoke.py

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("karat needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/demo.stamp: requirements/uv.txt requirements/demo.txt pyproject.toml | .venv/bin/python
	@echo "Installing karat into .venv (about 160 MB to fetch) …"
	$(PIP) install --no-deps --require-hashes -r requirements/uv.txt
	$(UV) --require-hashes -r requirements/demo.txt
	$(UV) --no-build-isolation -e .
	@touch $@

# torch first and alone: a looser requirement would choose a build with gigabytes of GPU libraries.
.venv/test.stamp: requirements/test.txt .venv/demo.stamp
	@echo "Installing what the tests need (torch and TRL among it) …"
	$(PIP) install torch==2.13.0
	$(UV) --require-hashes -r requirements/test.txt
	$(PIP) install --no-deps irrCAC==0.4.4  # an oracle; it asks for an older scipy than the others
	@sh tools/chromium.sh
	@sh tools/postgres.sh
	@touch $@

# Pins for the two commands, by digest too; the library itself states ranges in pyproject.toml.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header
# torch comes from where a machine has its build from: gpu.txt has no digest of it, hence none.
HASHED := $(COMPILE) --generate-hashes
lock: .venv/test.stamp
	$(HASHED) requirements/uv.in -o requirements/uv.txt
	$(HASHED) pyproject.toml --extra embedded --extra serve requirements/build.in -o requirements/demo.txt
	$(HASHED) pyproject.toml --extra embedded --extra reward --extra hf --extra train --extra documents --extra language \
	  --extra math --extra sql --extra serve --extra hub --extra otel --extra remote --extra postgres --extra ray \
	  requirements/build.in \
	  --group dev --override requirements/no-torch.txt -c requirements/demo.txt -o requirements/test.txt
	$(HASHED) pyproject.toml --extra embedded --extra serve --extra ray --extra postgres --extra remote --extra otel \
	  requirements/build.in requirements/cluster.in -c requirements/demo.txt -o requirements/cluster.txt
	$(COMPILE) pyproject.toml --extra hf requirements/gpu.in -c requirements/cluster.txt -o requirements/gpu.txt

clean:
	rm -rf .venv runs .mypy_cache .pytest_cache .ruff_cache .hypothesis
