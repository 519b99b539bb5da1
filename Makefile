# make demo        tune a network on handwritten digits by the controller that ships
# make test        the quick tests         make test-slow   the slow ones
# make lint        style, format, types    make clean       remove what can be made again
#
# The virtual environment is .venv; a stamp in it for each set of dependencies says that the set is
# installed as pyproject.toml and constraints.txt ask. Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
PYTEST_ARGS ?=

# Without bytecode every start of the program would compile all of JAX anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.DELETE_ON_ERROR:
.PHONY: demo test test-slow lint clean

demo: .venv/.installed-core
	$(BIN)/rlagent tune digits

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

test-slow: .venv/.installed-all
	$(BIN)/python -m pytest -m slow -n auto --dist load --maxschedchunk 1 $(PYTEST_ARGS)

lint: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find envs rlagent scripts tests -name __pycache__ -prune -exec rm -rf {} +

.venv/.installed-core: pyproject.toml constraints.txt | $(BIN)/pip
	$(PIP_INSTALL) -e .
	touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(PIP_INSTALL) -e '.[train,bench,dev]'
	touch $@

.venv/.installed-all: .venv/.installed-dev
	$(PIP_INSTALL) -e '.[log,ray]'
	touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "rlagent needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
