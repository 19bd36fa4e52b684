# convpress: `make help` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Scripts of the workflow find the environment's commands without an activated shell.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install quickstart reproduce test test-unit test-slurm test-long check check-results format docs benchmark clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/installed ## make .venv with the exact versions of requirements.lock

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "convpress needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; call make install PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 -x /tests/ .venv/lib || true  # pip has one process for it; a file of torch needs Python 3.12
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

quickstart: install ## all studies in minutes on scikit-learn's digits, no download
	$(SNAKEMAKE) --configfile config/quickstart.yaml
	@echo "tables:  results/quickstart/tables/"
	@echo "figures: results/quickstart/figures/"
	@echo "report:  results/quickstart/report.html"

reproduce: install ## the whole cifar10 run; resumes where it was stopped
	$(SNAKEMAKE)
	@echo "report:  results/cifar10/report.html"

test: install ## unit tests and workflow tests, in four processes: some of them wait
	$(BIN)/pytest -n 4 --no-loadscope-reorder -m 'not long'

test-unit: install ## only the unit tests
	$(BIN)/pytest tests/unit

test-slurm: install ## the quickstart on a SLURM cluster of one node (root, Debian's slurm-wlm and munge)
	$(BIN)/pytest tests/workflow/test_slurm.py

test-long: install ## the whole quickstart again, on one core and on the cluster of test-slurm: the same numbers
	$(BIN)/pytest tests/workflow -m long

check-results: install ## compare the checksums of all results here with dvc.lock
	@$(BIN)/python -m convpress.workflow.checkresults

check: install ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy

format: install ## let ruff and snakefmt write the layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

docs: install ## the parameter reference from the schema; the README's results and the benchmarks from the tables
	$(BIN)/python -m convpress.config.reference > docs/parameters.md.new && mv docs/parameters.md.new docs/parameters.md
	$(BIN)/python -m convpress.report.readme

benchmark: install ## measure everything that claims speed or memory, and keep it in results/benchmarks.csv
	$(BIN)/python benchmarks/train_throughput.py
	$(BIN)/python benchmarks/decomposition.py
	$(BIN)/python benchmarks/decomposition.py --families 2
	$(BIN)/python benchmarks/sweep_reuse.py
	$(BIN)/python benchmarks/merging_latency.py
	$(BIN)/python benchmarks/strided_gradient.py
	$(BIN)/python benchmarks/dense_training.py
	$(BIN)/python benchmarks/allocator.py
	$(BIN)/python benchmarks/alexnet_memory.py
	$(BIN)/python benchmarks/dag_build.py

clean: ## remove the quickstart's results, logs and digits
	rm -rf results/quickstart logs/quickstart data/digits.*
