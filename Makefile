# The two commands of the README, and what .ci/run calls. A second run reuses what is there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what is imported when it first is; pip would compile all of it, a tenth of which is ever used.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt

# The tests run side by side, on small matrices: NumPy's own threads would only stand in each other's way.
export OPENBLAS_NUM_THREADS := 1

.PHONY: quickstart test test-all everything test-slurm test-ray test-others check

quickstart: $(VENV)/installed
	$(BIN)/mutransfer run quickstart
	$(BIN)/mutransfer report runs/quickstart

# What a change is tried with while it is made; test-all is everything, as CI runs it.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest --ignore tests/cluster -m "not slow"

# Tests on clusters mostly wait, so the others run beside them, on what they leave (nice): Ray's nodes give up
# starting where the machine is full. Each part's output comes when it is done.
test-all: $(VENV)/installed-test
	$(MAKE) --jobs 3 --output-sync=target test-slurm test-ray test-others

# What .ci/run calls.
everything: $(VENV)/installed-test
	$(MAKE) --jobs 4 --output-sync=target test-slurm test-ray test-others check

test-slurm:
	$(BIN)/python -m pytest -n 0 tests/cluster/test_slurm.py

test-ray:
	$(BIN)/python -m pytest -n 0 tests/cluster/test_ray.py

test-others:
	nice -n 19 $(BIN)/python -m pytest --ignore tests/cluster

check: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	nice -n 19 $(BIN)/mypy
	nice -n 19 $(BIN)/mypy --explicit-package-bases tests benchmarks

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "mutransfer needs Python 3.11 or newer; try make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

# The mup package is a test oracle; its own requirements (torchvision) do not go with every torch.
$(VENV)/installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps mup
	@touch $(VENV)/installed $@
