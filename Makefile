# make setup | demo | test | test-notebooks | test-min | test-gpu | bench | lint | docs | clean. Everything is installed into
# .venv, what test-min needs into .venv-min. make test WORKERS=4: so many test files at a time;
# make test-min TESTS=tests/data: those alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MIN := .venv-min
WORKERS ?= 2
TESTS ?= tests wsss_zoo
export OMP_NUM_THREADS ?= 1
export WANDB_MODE ?= offline
# Processes that the tests start read compiled modules, and so does the next run.
export PYTHONDONTWRITEBYTECODE =

.PHONY: setup demo test test-notebooks test-min test-slow test-gpu bench lint docs clean

setup: $(VENV)/.installed

# fast-slic builds only outside pip's isolated build; without a compiler the package works without it.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip wheel "setuptools<81"
	$(BIN)/python -m pip install -e ".[dev,docs]"
	$(BIN)/python -m pip install "cython>=0.29" numpy
	$(BIN)/python -m pip install --no-build-isolation fast-slic \
		|| echo "fast-slic did not build: superpixels will come from scikit-image"
	touch $@

demo: setup
	$(BIN)/wsss-zoo pipeline experiments/pipelines/cam.yaml --root runs/demo

test: setup
	$(BIN)/python -m pytest -m "not slow and not gpu" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Every cell of the notebooks, on fewer images.
test-notebooks: setup
	$(BIN)/python -m pytest tests/test_notebooks.py -k every_cell -n $(WORKERS) --dist load

# The quick tests with the oldest versions that pyproject.toml allows. These warn of newer versions of
# what they themselves need: no errors of ours.
test-min: $(MIN)/.installed
	$(MIN)/bin/python -m pytest $(TESTS) -W default -m "not slow and not gpu" -n $(WORKERS) --dist loadfile \
		--ignore tests/test_notebooks.py --ignore tests/test_docs.py

$(MIN)/.installed: pyproject.toml tests/minimum_versions.py
	$(PYTHON) -m venv $(MIN)
	$(PYTHON) tests/minimum_versions.py > $(MIN)/minimum.txt
	$(MIN)/bin/python -m pip install --quiet --upgrade pip wheel "setuptools<81"
	$(MIN)/bin/python -m pip install -r $(MIN)/minimum.txt
	$(MIN)/bin/python -m pip install --no-deps -e .
	touch $@

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not gpu" --timeout 3600

# One CUDA card, nothing downloaded; without one, DEVICE=cpu tries the same code in small sizes.
# What CUDA and compilers warn of are no errors of ours.
DEVICE ?= cuda
test-gpu: setup
	$(BIN)/python -m pytest tests/gpu --device $(DEVICE) -W default -p no:xdist \
		--measurements runs/gpu.json

bench: setup
	$(BIN)/python -m pytest tests/benchmarks -m benchmark --timeout 0 -p no:cacheprovider -p no:xdist \
		--measurements runs/bench.json

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The warning is about another version of mkdocs; nothing is loaded from the network.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "documentation: site/index.html (over HTTP: $(BIN)/mkdocs serve)"

clean:
	rm -rf $(VENV) $(MIN) runs build site *.egg-info
