# Development commands. `.venv` is created from Python 3.11+ and pip alone.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: video test test-page test-slow coverage audit lint docs wheel webui bench format clean

video: .venv/ready
	$(BIN)/kinema generate "a red ball rolls from left to right" --out video.mp4

# One thread in each of two processes: libraries that start a thread per core slow each other down.
test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

test-slow: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

# The web page in Chromium, which comes from the system: apt-get install chromium.
test-page: .venv/dev webui/node_modules
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow -rs tests/webui

coverage: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term --cov-report=html:build/coverage

# Asks the public vulnerability database, so it needs a network; `make test` uses the list in tests/advisories.toml.
audit: .venv/dev
	$(BIN)/pip install -q pip-audit
	$(BIN)/pip-audit --local --skip-editable

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyrefly check

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: .venv/ready
	$(BIN)/pip wheel -q --no-deps --wheel-dir dist .

# The studio's page: TypeScript in webui/, built into the package. Needs Node 20.19 or newer.
webui: webui/node_modules
	cd webui && npm run check && npm run build

webui/node_modules: webui/package-lock.json
	cd webui && npm ci
	touch $@

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/dev
	$(BIN)/python -m benchmarks simulator
	$(BIN)/python -m benchmarks model --against diffusers

# torch goes first and pinned: a plain `torch` may pull gigabytes of CUDA onto a machine without a GPU.
.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kinema needs Python 3.11 or newer; set PYTHON=python3.12, for example")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q torch==2.13.0
	$(BIN)/pip install -q -e .
	touch $@

.venv/dev: .venv/ready
	$(BIN)/pip install -q -e '.[dev]'
	touch $@

.venv/docs: .venv/ready
	$(BIN)/pip install -q -e '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .coverage*
