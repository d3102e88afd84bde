# The two commands of the README, and what .ci/run calls. A second run reuses what is there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what is imported when it first is; pip compiles all of it on one core, and that takes longer than
# the rest of installing.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt

# The tests run side by side, on small matrices: NumPy's own threads would only stand in each other's way.
export OPENBLAS_NUM_THREADS := 1
# What is imported is compiled once, not by each of a thousand processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test test-all everything test-slurm test-faults test-others check

quickstart: $(VENV)/installed
	$(BIN)/mutransfer run quickstart
	$(BIN)/mutransfer report runs/quickstart

# What a change is tried with while it is made; test-all is everything, as CI runs it.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest --ignore tests/cluster -m "not slow"

# Tests on Slurm and of faults mostly wait, so they run beside the others; each part's output comes when it is
# done. Ray's nodes give up starting on a machine that is full, so they come before what fills it, and what runs
# beside them is nice.
test-all: $(VENV)/installed-test
	$(MAKE) --jobs 3 --output-sync=target test-slurm test-faults test-others

# What .ci/run calls. The check takes one core while the tests on Ray mostly wait, too.
everything: $(VENV)/installed-test
	$(MAKE) --jobs 4 --output-sync=target test-slurm test-faults check test-others

test-slurm:
	$(BIN)/python -m pytest -n 0 tests/cluster/test_slurm.py

test-faults:
	nice $(BIN)/python -m pytest -n 0 tests/test_faults.py

test-others:
	$(BIN)/python -m pytest -n 0 tests/cluster/test_ray.py
	$(BIN)/python -m pytest --ignore tests/cluster --ignore tests/test_faults.py

check: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases tests benchmarks

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "mutransfer needs Python 3.11 or newer; try make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

# Test oracles whose own requirements (torchvision, kernels for GPUs) do not go with every torch.
ORACLES := mup megatron-core torchtitan spmd_types torch_checkpointing torchdata tyro docstring_parser einops \
	unit-scaling tabulate
# Ray starts many processes at once, and its nodes give up where each compiles for itself what it imports.
COMPILED := $(addprefix $(VENV)/lib/python*/site-packages/,ray torch numpy pandas pyarrow)
$(VENV)/installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps $(ORACLES)
	@$(BIN)/python -m compileall -qq -j 0 $(COMPILED) || true  # templates among them do not compile
	@touch $(VENV)/installed $@
