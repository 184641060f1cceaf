# Keyless. Every target sets up what it needs; none needs another first.
#   make demo   an AI's notebook deploys a Lambda with a key that it never sees
#   make test   every test
# also: lint attacks fuzz fuzz-frames stress bench exposure docs labextension binder lock clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCKED := $(VENV)/.locked
LAB := build/labextension/package.json
LAB_SOURCES := $(wildcard $(addprefix extension/labextension/,*.json build.py src/* style/*))
AWS_READY := .venv-aws/.ready
FRAMEWORKS := .venv-frameworks
UV := .venv-uv
# Many tests wait for processes: one worker more than the usual two cores.
WORKERS ?= 3
# COVERAGE=--cov measures the branches that the tests take; it costs a sixth of the time.
COVERAGE ?=
LARGE_MIB ?= 5120
RESIGNED ?= 100000
BENCH ?=

.PHONY: packages labextension demo test lint attacks fuzz fuzz-frames stress bench exposure pictures docs binder lock clean setup frameworks
.DEFAULT_GOAL := help

help:
	@sed -n '2,5s/^# *//p' Makefile

setup: $(READY) $(AWS_READY)

frameworks: $(FRAMEWORKS)/.ready

# A clear sentence instead of a traceback where Python's venv module can't make environments.
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Keyless needs Python 3.11 or later; $(PYTHON) is older (set PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq python3-venv; \
	  else echo "Python's venv module is incomplete; on Debian: apt-get install python3-venv"; exit 1; fi
	$(PYTHON) -m venv $(1)
endef

# --no-deps: the lock is whole, and older pips lose a pin to a newer release where a package
# asks for another with extras.
$(LOCKED): requirements/dev.lock
	$(call make_venv,$(VENV))
	@echo "installing the locked dependencies (about a minute)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.lock
	@touch $@

$(READY): $(LOCKED) $(LAB) pyproject.toml extension/server-config/keyless.json
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# What people see in JupyterLab.
labextension: $(LAB)

$(LAB): $(LOCKED) $(LAB_SOURCES)
	@echo "building the JupyterLab extension (half a minute)"
	@$(BIN)/python extension/labextension/build.py
	@touch $@

# The AWS CLI has an environment of its own, since it brings its own botocore.
$(AWS_READY): requirements/aws.lock
	$(call make_venv,.venv-aws)
	@.venv-aws/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/aws.lock
	@touch $@

$(UV)/.ready: requirements/uv.lock
	$(call make_venv,$(UV))
	@$(UV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/uv.lock
	@touch $@

# Agent frameworks, which tests/compat drives Keyless with.
$(FRAMEWORKS)/.ready: requirements/frameworks.lock pyproject.toml $(UV)/.ready
	$(call make_venv,$(FRAMEWORKS))
	@$(UV)/bin/uv pip install --quiet --python $(FRAMEWORKS)/bin/python --link-mode copy --require-hashes --no-deps -r requirements/frameworks.lock
	@$(UV)/bin/uv pip install --quiet --python $(FRAMEWORKS)/bin/python --no-deps --no-build-isolation --editable .
	@# Kernels see it read-only: without this each one would compile its modules anew.
	@$(FRAMEWORKS)/bin/python -c 'import ipykernel.ipkernel, ipykernel.kernelapp, IPython.core.completer'
	@touch $@

demo: setup
	@$(BIN)/jupyter keyless demo --output build/demo

# Real programs: AWS CLI v2, gh, PostgreSQL, a keyring.
packages:
	@tests/system-packages

test: setup packages frameworks
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(COVERAGE)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy extension/keyless/protocol extension/keyless/server kernel sidecar
	$(BIN)/lint-imports

# Every attack at every isolation level that this machine can put in force.
attacks: setup
	@$(BIN)/python -m tests.attacks.matrix -n $(WORKERS)

# Each fuzz target for FUZZ_SECONDS (60); what is found is kept in tests/fuzz/cases.
# Then 100,000 random requests, signed anew as botocore signs them: about half an hour.
fuzz: setup
	@$(BIN)/python -m tests.fuzz.run
	@$(BIN)/python -m tests.fuzz.resigning --requests $(RESIGNED)

# Ten million fuzzed frames, and a hundred thousand to real sidecars.
fuzz-frames: setup
	@$(BIN)/python -m tests.fuzz.bulk

# About an hour: see tests/stress/README.md for what each does and takes.
stress: setup
	@$(BIN)/python tests/stress/footprint.py
	@$(BIN)/python tests/stress/crowd.py
	@$(BIN)/python tests/stress/many_sandboxes.py
	@$(BIN)/python tests/stress/kills.py
	@$(BIN)/python tests/stress/restarts.py
	@$(BIN)/python tests/stress/large_bodies.py --size $(LARGE_MIB)

# Everything side by side in about a quarter of an hour, on a quiet machine: see benchmarks/README.md.
# BENCH=--quick for a short look, BENCH='--only aws', BENCH=--keep to keep it as the last run.
bench: setup $(UV)/.ready
	@$(BIN)/python -m benchmarks --output build/bench $(BENCH)

# Who holds which key, and how long: docs/exposure.*.
exposure: setup
	$(BIN)/python -m benchmarks.exposure --output build/bench

# The documentation's pictures of the approval page, as the tests see it.
pictures: setup packages
	KEYLESS_PICTURES=docs $(BIN)/pytest -q tests/browser/test_real_kernel.py

docs: setup
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs

# What Binder makes of this checkout, built and run in containers: five to ten minutes, as root.
binder: setup
	@$(BIN)/python -m tests.binder.replay

# Resolves requirements/*.in anew; needs the registry and writes no address of it.
lock: setup
	$(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet uv
	for name in dev aws frameworks uv bench; do build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade \
	  requirements/$$name.in -o requirements/$$name.lock; done
	build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade \
	  requirements/binder.in -o binder/requirements.txt

clean:
	rm -rf build .venv .venv-aws .venv-frameworks .venv-uv extension/labextension/node_modules \
	  extension/labextension/lib
