# `make demo` and `make test` need Python 3.10 or newer and nothing else: they make .venv themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test test-slow test-hostile test-oldest lint check bench docs clean

help:
	@echo "make demo       sync examples/people.csv into a sandbox on this machine, and read one contact back"
	@echo "make test       the tests (under 5 minutes)"
	@echo "make test-slow  the long tests, the built wheel among them"
	@echo "make test-hostile  the attacks of docs/guarantees.md: kills, interrupts, hostile answers (under 10 minutes)"
	@echo "make test-oldest  the tests with the oldest dependencies that are permitted"
	@echo "make lint       ruff, mypy --strict, pyright"
	@echo "make bench      the benchmarks, all or PARTS=\"client codec\", with the libraries they compare against"
	@echo "make docs       the documentation site, in build/docs/index.html; a warning is an error"
	@echo "make clean      remove .venv and caches"

# One stamp per set of extras, remade when pyproject.toml changes.
$(VENV)/.%: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=…") if sys.version_info < (3, 10) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing aelyst-async[$*] into $(VENV)"
	@$(PIP) install -e ".[$*]"
	@touch $@

demo: $(VENV)/.cli
	@$(BIN)/python examples/demo.py

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto -m "not slow"

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist loadfile -m "slow and not hostile"

test-hostile: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist worksteal -m hostile

# The lower bounds of pyproject.toml, on the oldest Python at hand.
OLDEST ?= $(shell python3.10 -c 'import sys; print(sys.executable)' 2>/dev/null || echo $(PYTHON))
test-oldest:
	@rm -rf build/oldest
	$(OLDEST) -m venv build/oldest
	build/oldest/bin/python -m pip --disable-pip-version-check --quiet install -c tests/constraints-oldest.txt -e ".[test]"
	build/oldest/bin/python -m pytest -q -n auto -m "not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

check: lint test

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(PARTS)

# Reads every file again (-E), reports names and links that lead nowhere (-n), and fails on a warning (-W).
docs: $(VENV)/.test
	$(BIN)/python -m sphinx -E -n -W --keep-going -j 2 -q docs build/docs

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
