# The one front door. `make demo` and `make test` need nothing but Python ≥ 3.11: they set up .venv themselves, once.
PYTHON ?= python3
# What pip is told to install as PyTorch, as PyTorch's own guide says it for a machine; without it, the pinned version.
# A PyTorch that .venv already holds stays.
export TORCH ?=
# Files go to the processes in the order of tests/conftest.py, the longest first.
PYTEST_ARGS ?= -n auto --dist loadfile --no-loadscope-reorder

BIN := .venv/bin
# pip would compile on one core; COMPILE does it on all.
INSTALL := -m pip install -qq --disable-pip-version-check --no-compile
COMPILE = $(BIN)/python -m compileall -qq -j 0 .venv/lib || true
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
.DELETE_ON_ERROR:
.PHONY: demo test campaign check types oldest newest bench sweep explorer docs clean

demo: .venv/.runtime
	@$(BIN)/contextmix explain "a deep and meaningful film ."

test: .venv/.dev
	$(BIN)/python -m pytest -q -m "not campaign" $(PYTEST_ARGS) tests src/contextmix

# What takes long and rarely finds anything: repeated kills, fuzzing, time limits, Ray, the whole documentation, notebooks.
campaign: .venv/.ray
	$(BIN)/python -m pytest -q -m campaign --nbmake --nbmake-timeout=300 $(PYTEST_ARGS) tests examples/*.ipynb

# Types are checked beside the tests: both leave a core idle at times.
check: .venv/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory -j 2 types test
	@$(MAKE) --no-print-directory campaign

types: .venv/.dev
	$(BIN)/mypy

# By hand, not in CI: gigabytes, in an environment of their own that is made anew. The oldest versions that pyproject.toml
# allows, or the newest of everything; every extra that users install; and the tests that need nothing else.
OWN_EXTRAS := plot,image,notebook,datasets,speech,serve,ray,answers,test
OWN_TESTS := tests src/contextmix $(addprefix --ignore=tests/,browser docs examples serve/test_page.py) \
	--deselect=tests/serve/test_served.py::test_the_description_is_true_and_nothing_breaks_the_server

oldest: PINS = build/oldest/bin/python scripts/lower_bounds.py
newest: PINS = true
oldest newest:
	rm -rf build/$@
	@$(MAKE) --no-print-directory build/$@/bin/python
	@$(PINS) > build/$@/pins.txt
	@build/$@/bin/python scripts/torch_first.py build/$@/pins.txt build/$@/constraints.txt
	build/$@/bin/python $(INSTALL) -c build/$@/constraints.txt -e '.[$(OWN_EXTRAS)]'
	build/$@/bin/python -m pytest -q $(PYTEST_ARGS) $(OWN_TESTS)

bench: .venv/.dev
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/cost_family.py
	$(BIN)/python benchmarks/cost_hta.py
	$(BIN)/python benchmarks/cost_decompx.py
	$(BIN)/python benchmarks/cost_outside.py
	$(BIN)/python benchmarks/peak_memory.py
	$(BIN)/python benchmarks/report.py

# Ten minutes on two cores: a tiny model of every model type of the installed transformers, each in its own process.
sweep: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m scripts.sweep

# Needs Node 20 or newer. The bundle is committed, so that nobody needs it to use contextmix.
explorer: explorer/node_modules
	npm --prefix explorer run check
	npm --prefix explorer run build

explorer/node_modules: explorer/package-lock.json
	npm --prefix explorer ci && touch $@

# The documentation site, in build/docs: pages from the code, pictures drawn by the built-in model; nothing is fetched.
docs: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo "Open build/docs/index.html"

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis explorer/build explorer/node_modules

%/bin/python:
	@$(PYTHON) -c 'import sys; old = sys.version_info < (3, 11); sys.exit("contextmix needs Python 3.11 or newer; $(PYTHON) is " \
	+ sys.version.split()[0] + ". Name another one, for example: make PYTHON=python3.12" if old else 0)'
	$(PYTHON) -m venv --clear $*

# constraints.txt, with the PyTorch that is in .venv.
.venv/constraints.txt: constraints.txt .venv/bin/python
	@echo "Installing contextmix and what it needs into .venv (once; a minute or two) ..."
	@$(BIN)/python scripts/torch_first.py constraints.txt $@

.venv/.runtime: pyproject.toml .venv/constraints.txt
	@$(BIN)/python $(INSTALL) -c .venv/constraints.txt -e .
	@$(COMPILE)
	@touch $@

.venv/.dev: pyproject.toml .venv/constraints.txt
	@echo "Installing the tools for tests and checks, too ..."
	@$(BIN)/python $(INSTALL) -c .venv/constraints.txt -e '.[dev]'
	@$(COMPILE)
	@touch .venv/.runtime $@

.venv/.ray: .venv/.dev
	@echo "Installing Ray for the campaign ..."
	@$(BIN)/python $(INSTALL) -c .venv/constraints.txt -e '.[ray]'
	@touch $@
