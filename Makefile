# `make demo` and `make test` are all a newcomer needs; each makes the environment it runs in.
# Needs Python 3.11 or newer, pip and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-slow lint type arrows bench results check clean

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-10s %s\n", $$1, $$2}'

# The stamps say what is installed; they are made anew when the requirements change.
$(VENV)/.runtime: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	@touch $@ $(VENV)/.runtime

# With TRACE=path/to/AzureLLMInferenceTrace_conv.csv the same question is asked of the real trace.
ifdef TRACE
DEMO := chat-on-which-gpu-azure
DEMO_OPTIONS := --set 'workload.requests.path=$(abspath $(TRACE))'
else
DEMO := chat-on-which-gpu
endif

demo: $(VENV)/.runtime  ## Which GPU serves chat at the lowest cost? Writes a report to runs/.
	@rm -rf runs/$(DEMO)
	$(BIN)/hermes sweep $(DEMO) --out runs/$(DEMO) $(DEMO_OPTIONS)

test: $(VENV)/.dev  ## The test suite, within five minutes on two cores.
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.dev  ## The tests marked slow: more examples, more kills.
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev  ## Style.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(VENV)/.dev  ## Types.
	$(BIN)/mypy

arrows: $(VENV)/.dev  ## The import arrows of the architecture.
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## Speed, as ratios to a bare SimPy timeout in the same run.
	$(BIN)/python benchmarks/engine.py

results: $(VENV)/.runtime  ## Regenerate what results/ publishes.
	$(BIN)/python results/regenerate.py

check: lint type arrows test  ## Everything that must hold before a commit.

clean:  ## Remove the environment and caches; runs/ stays.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
