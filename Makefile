# `make demo` and `make test` need Python 3.10 or newer and nothing else: they make .venv themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL ?= $(BIN)/python -m pip --disable-pip-version-check --quiet install
# uv trusts the certificates that the system trusts, as pip does: some networks have their own.
export UV_SYSTEM_CERTS := 1

.PHONY: help demo test test-slow test-hostile test-oldest matrix coverage lint api types audit sbom wheel soak check bench docs clean

help:
	@echo "make demo       sync examples/people.csv into a sandbox on this machine, and read one contact back"
	@echo "make test       the tests (under 5 minutes)"
	@echo "make test-slow  the long tests: the built wheel, long simulations, the long attacks"
	@echo "make test-hostile  the attacks of docs/guarantees.md: kills, interrupts, hostile answers (under 10 minutes)"
	@echo "make test-oldest  the tests with the oldest dependencies that are permitted"
	@echo "make matrix     the tests with every Python on this machine, 3.10 to 3.15 (PYTHONS=\"3.12\" TESTS=tests/core)"
	@echo "make coverage   branch coverage of both packages, and what is not covered"
	@echo "make lint       ruff, mypy --strict, pyright, zizmor"
	@echo "make types      the completeness of the public types: 100 %"
	@echo "make api        write the snapshot of the public API anew, and show what changed"
	@echo "make wheel      build the wheel, install it into an empty environment, run the demo there"
	@echo "make audit      known vulnerabilities in the dependencies; make sbom: what they are (CycloneDX)"
	@echo "make soak       twenty gateways against every fault for SECONDS=600; what is left over at the end"
	@echo "make bench      the benchmarks, all or PARTS=\"client codec\", with the libraries they compare against"
	@echo "make docs       the documentation site, in build/docs/index.html; a warning is an error"
	@echo "make clean      remove .venv and caches"

# One stamp per set of extras, remade when pyproject.toml changes.
$(VENV)/.%: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=…") if sys.version_info < (3, 10) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing aelyst-async[$*] into $(VENV)"
	@$(INSTALL) -e ".[$*]"
	@touch $@

demo: $(VENV)/.cli
	@$(BIN)/python examples/demo.py

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto -m "not slow"

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

test-hostile: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist worksteal -m hostile

# The lower bounds of pyproject.toml, on the oldest Python. typing_extensions is left out: test tools need a newer one.
OLDEST ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python3.10) $(shell command -v python3.10) $(PYTHON))
EXTRAS := cli excel fastapi otel parquet phone sandbox speed
test-oldest: $(VENV)/.dev
	@mkdir -p build
	$(BIN)/uv pip compile --quiet --no-deps --no-header --resolution lowest-direct --python $(OLDEST) \
	    $(EXTRAS:%=--extra %) --no-emit-package typing-extensions pyproject.toml -o build/oldest.txt
	sed -n 's/^opentelemetry-api/opentelemetry-sdk/p' build/oldest.txt >> build/oldest.txt  # the two go together
	$(BIN)/uv venv --quiet --clear --python $(OLDEST) build/oldest
	$(BIN)/uv pip install --quiet --python build/oldest/bin/python --override build/oldest.txt -e ".[test]"
	build/oldest/bin/python -m pytest -q -n auto -m "not slow and not hostile"

matrix: $(VENV)/.dev
	.ci/matrix

# The figure counts the code that runs in children: the command, crashed processes. pytest-cov saves what xdist's workers
# have counted before execnet ends them. `coverage report` judges the figure (fail_under), after it has named the lines.
coverage: $(VENV)/.dev
	@rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/python -m pytest -q -n auto -m "not (slow and hostile)" --cov --cov-report= --cov-fail-under=0
	$(BIN)/coverage report

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/zizmor --offline --quiet .github

# pyright finds the packages of the interpreter that is first on the path.
types: $(VENV)/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --verifytypes aelyst_async --ignoreexternal
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --verifytypes aelyst_providers --ignoreexternal

api: $(VENV)/.test
	@mkdir -p build
	$(BIN)/python -m tests.core.test_api > build/api.txt && mv build/api.txt tests/core/api.txt
	git diff --stat -- tests/core/api.txt

wheel: $(VENV)/.dev
	@rm -rf build/dist build/wheel
	$(BIN)/python -m build --outdir build/dist .
	$(BIN)/uv venv --quiet --python $(BIN)/python build/wheel
	$(BIN)/uv pip install --quiet --python build/wheel/bin/python "$$(ls build/dist/*.whl)[cli]"
	cd build && wheel/bin/python -W error ../examples/demo.py && wheel/bin/aelyst --version

audit: $(VENV)/.dev
	$(BIN)/pip-audit --strict --skip-editable --progress-spinner off

# Of the wheel's environment, so that it holds what a user gets and no tools of ours.
sbom: wheel
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o build/dist/sbom.cdx.json build/wheel

SECONDS ?= 600
soak: $(VENV)/.dev
	$(BIN)/python -W error -m benchmarks.soak --seconds $(SECONDS)

check: lint test

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(PARTS)

# Reads every file again (-E), reports names and links that lead nowhere (-n), and fails on a warning (-W).
docs: $(VENV)/.test
	$(BIN)/python -m sphinx -E -n -W --keep-going -j 2 -q docs build/docs

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
