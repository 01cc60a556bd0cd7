# make demo    the main job          make test       everything that CI runs
# make parity  the table of errors   make test-full  and what takes longer
# make lint    ruff                  make test-jax   one backend alone (-tensorflow, -torch)
#
# Each backend has an environment of its own under .venv, with no other backend in it; .venv/all
# sees the three, for what crosses between them.

PYTHON ?= python3
BACKENDS = tensorflow jax torch
PYTEST = -m pytest -q -n 2 --dist worksteal --durations=10
OLDEST_KERAS = 3.13.0

.PHONY: demo test test-full lint parity bars table test-together test-plugins test-oldest \
	full-together full-plugins plugins outsiders clean \
	$(BACKENDS:%=test-%) $(BACKENDS:%=full-%)

demo: .venv/tensorflow/ready
	KERAS_BACKEND=tensorflow .venv/tensorflow/bin/keras-paca demo

test: lint $(BACKENDS:%=test-%) test-together test-plugins test-oldest

test-full: lint $(BACKENDS:%=full-%) full-together full-plugins test-oldest outsiders parity

lint: .venv/torch/ready
	.venv/torch/bin/ruff format --check .
	.venv/torch/bin/ruff check .

# Two tests run at a time on two cores; with two threads each, PyTorch's would wait for one another.
$(BACKENDS:%=test-%) $(BACKENDS:%=full-%) test-together full-together test-plugins full-plugins \
	test-oldest: export OMP_NUM_THREADS = 1

# XLA compiles in half the time without its optimisations, and the same function once; test-full
# runs as users do.
test-jax test-together test-plugins: export XLA_FLAGS = --xla_backend_optimization_level=0
test-jax test-together test-plugins: export JAX_COMPILATION_CACHE_DIR = $(CURDIR)/.venv/jax-cache
test-jax test-together test-plugins: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0
test-jax test-together test-plugins: export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES = -1

$(BACKENDS:%=test-%): test-%: .venv/%/ready
	KERAS_BACKEND=$* .venv/$*/bin/python $(PYTEST) -m "not slow and not together and not plugins"

$(BACKENDS:%=full-%): full-%: .venv/%/ready
	KERAS_BACKEND=$* .venv/$*/bin/python $(PYTEST) -m "not together and not plugins"

# What needs several backends in one environment: exports from JAX, files that one backend saves
# and another loads.
test-together: .venv/all/ready
	for backend in $(BACKENDS); do \
		KERAS_BACKEND=$$backend .venv/all/bin/python $(PYTEST) -m "together and not slow" || exit 1; \
	done

full-together: .venv/all/ready
	for backend in $(BACKENDS); do \
		KERAS_BACKEND=$$backend .venv/all/bin/python $(PYTEST) -m together || exit 1; \
	done

# KerasHub's and KerasCV's models around our backbones.
test-plugins: .venv/plugins/ready
	for backend in $(BACKENDS); do \
		KERAS_BACKEND=$$backend .venv/plugins/bin/python $(PYTEST) -m "plugins and not slow" \
			tests/plugins tests/backbones/test_base.py || exit 1; \
	done

full-plugins: .venv/plugins/ready
	for backend in $(BACKENDS); do \
		KERAS_BACKEND=$$backend .venv/plugins/bin/python $(PYTEST) -m plugins tests/plugins \
			--junitxml .venv/plugins-$$backend.xml || exit 1; \
	done

# The matrix of consumers. REPORTS: more of them, from another machine or other versions.
plugins: full-plugins
	$(PYTHON) benchmarks/plugins.py $(BACKENDS:%=.venv/plugins-%.xml) $(REPORTS)

# Files exported on JAX and PyTorch where nothing is installed but their runtime.
outsiders: .venv/all/ready
	$(PYTHON) benchmarks/outsiders.py

# The layers, conversions and parity of all models, on the lowest Keras that pyproject.toml admits.
test-oldest: .venv/torch/ready .venv/keras-$(OLDEST_KERAS)/ready
	KERAS_BACKEND=torch PYTHONPATH=.venv/keras-$(OLDEST_KERAS) .venv/torch/bin/python $(PYTEST) \
		-m "not slow and not together and not plugins" tests/layers tests/ops tests/parity \
		tests/conversions

parity: $(BACKENDS:%=.venv/%/ready)
	rm -f .venv/parity.csv
	for backend in $(BACKENDS); do \
		KERAS_BACKEND=$$backend .venv/$$backend/bin/python -m tests.parity .venv/parity.csv || exit 1; \
	done
	cp .venv/parity.csv benchmarks/parity.csv

# Hours on two cores; `make bars GROUPS="forward step"` runs some of it.
bars: $(BACKENDS:%=.venv/%/ready)
	.venv/torch/bin/python -m pip install --quiet "transformers>=5"
	.venv/torch/bin/python benchmarks/bars.py $(GROUPS)

# Hours as well; `make table SETTINGS="forward-224-8-float32 scaling"` runs some of it.
table: $(BACKENDS:%=.venv/%/ready)
	.venv/torch/bin/python -m pip install --quiet "transformers>=5" matplotlib
	.venv/torch/bin/python -m pip install --quiet --no-deps keras-hub
	.venv/torch/bin/python benchmarks/table.py $(SETTINGS)

# --- Environments ----------------------------------------------------------------------------

# PyTorch's CPU builds lie on an index of its own. It is asked for this one package alone, and pip
# goes on without it where it can't be reached.
TORCH_CPU = --extra-index-url https://download.pytorch.org/whl/cpu --retries 1 --timeout 20

.venv/%/ready: requirements/%.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed')"
	rm -rf .venv/$*
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/python -m pip install --quiet --upgrade pip
	if [ $* = torch ]; then \
		.venv/$*/bin/python -m pip install --quiet --no-deps $(TORCH_CPU) -r requirements/torch.txt; \
	fi
	.venv/$*/bin/python -m pip install --quiet -r requirements/$*.txt --editable ".[dev]"
	touch $@

# TensorFlow's versions first: it admits the fewest of what the three share.
.venv/all/ready .venv/plugins/ready: .venv/%/ready: $(BACKENDS:%=.venv/%/ready)
	rm -rf .venv/$*
	$(PYTHON) -m venv --without-pip .venv/$*
	for backend in $(BACKENDS) $*; do \
		.venv/$$backend/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))"; \
	done > .venv/$*/paths
	head -n 3 .venv/$*/paths > "$$(tail -n 1 .venv/$*/paths)/backends.pth"
	if [ $* = plugins ]; then \
		.venv/tensorflow/bin/python -m pip install --quiet --no-deps -r requirements/plugins.txt \
			--target "$$(tail -n 1 .venv/$*/paths)"; \
	fi
	touch $@

.venv/plugins/ready: requirements/plugins.txt

.venv/keras-%/ready:
	$(PYTHON) -m venv .venv/pip
	.venv/pip/bin/python -m pip install --quiet --no-deps --target .venv/keras-$* keras==$*
	touch $@

clean:
	rm -rf .venv build *.egg-info
