# make demo     see a simulated camera classified, with its latency (installs the device side only)
# make check    linters, types, and the tests that need no TensorFlow: two minutes (installs the device side and dev tools)
# make test     make check, then all other tests (installs everything)
# make test-home-assistant    what a real Home Assistant makes of our MQTT (0.6 GB, with Python 3.13)
# make test-stores   photos read from S3 and Google Cloud Storage, of servers that run here
# make test-packages    as root: install the Debian packages without which some tests are skipped
# make docs     write what is made of the commands' parsers (docs/commands.md, man pages, completions, a JSON schema) and
#               of benchmarks/results (tables and charts); then the web site of all pages, build/site, with an error for
#               each broken link and missing picture
# make models   the whole grid of model files, as CI builds it: of drawn digits, or of PHOTOS=folder;
#               [WEIGHTS=imagenet ALPHA="0.35 0.5" RESOLUTION="96 128" RUN=runs/grid MODELS=models/grid]
# make backbones    backbone files of the whole grid, which let others train without TensorFlow, with their manifest;
#               [WEIGHTS=imagenet ALPHA="0.35 0.5" RESOLUTION="96 128" PICTURES=folder BACKBONES=build/backbones]
# make builtin-model [MNIST=mnist.npz]    train the digit reader that ships in the package
# make benchmarks   every program of benchmarks/README.md, with real photos beside the clone: most of a day

PYTHON ?= python3
VENV ?= .venv
WEIGHTS ?= imagenet
ALPHA ?= all
RESOLUTION ?= all
RUN ?= runs/grid
MODELS ?= models/grid
BACKBONES ?= build/backbones
BIN = $(VENV)/bin
# Modules are compiled when they are first imported: compiling all, of which most are never used, takes a minute.
PIP = $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
DEVICE = $(VENV)/.device
CHECK = $(VENV)/.check
DOCS = $(VENV)/.docs
DESKTOP = $(VENV)/.desktop

# Tests start many processes: each would compile all of our modules anew.
unexport PYTHONDONTWRITEBYTECODE

# Tests at once; more than there are cores, for most wait for a camera or another process.
JOBS ?= 4
SLOW_JOBS ?= 2

# The newest that Python 3.13 takes.
HOME_ASSISTANT = build/home-assistant
PYTHON313 ?= python3.13
STORES = build/stores

# Those that measure, of benchmarks/README.md.
BENCHMARKS = accuracy agreement budget builtin converting decisions float16_arithmetic heads hooks instructions \
	loop metrics multipliers open_set outputs page parallel peers quantization repeatability scale \
	slow_viewer soak start still_camera teaching teaching_anew teaching_instructions training unknown

.PHONY: demo check test test-home-assistant fast-tests slow-tests test-packages lint types docs models backbones builtin-model benchmarks clean

demo: $(DEVICE)
	$(BIN)/edge-classify --camera demo --count 1800 --web

check: $(CHECK)
	@$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync=target lint types fast-tests

test: check slow-tests

fast-tests: $(CHECK)
	$(BIN)/python -m pytest -m "not slow and not nightly" --numprocesses $(JOBS) --dist worksteal --timeout 300

# Two at once, for trainings and emulated processors keep little more than one core busy; tests of a module share what
# they have trained.
slow-tests: $(DESKTOP)
	$(BIN)/python -m pytest -m "slow and not nightly" --numprocesses $(SLOW_JOBS) --dist loadfile

test-home-assistant: $(CHECK)
	$(PYTHON313) -m venv $(HOME_ASSISTANT)
	$(HOME_ASSISTANT)/bin/python -m pip install --quiet --disable-pip-version-check homeassistant==2025.4.4 'paho-mqtt>=2.1,<3'
	$(BIN)/python -m pytest tests/system/test_home_assistant.py

test-stores:
	$(PYTHON) -m venv $(STORES)
	$(STORES)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' \
		'moto[server]>=5' 's3fs[boto3]' gcsfs gcp-storage-emulator
	$(STORES)/bin/python -m pytest tests/train/test_shards.py -k store

test-packages:
	apt-get update --quiet
	# Ubuntu has Chromium as a snap alone: what a system does not have, the tests do without.
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends \
		$$(for name in $$(cat tests/apt-packages.txt); do apt-cache show $$name > /dev/null 2>&1 && echo $$name; done)

lint: $(CHECK)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	$(BIN)/zizmor --offline --quiet .github/workflows

types: $(CHECK)
	$(BIN)/mypy

docs: $(DOCS)
	$(BIN)/python docs/make_commands.py
	$(BIN)/python docs/make_measurements.py
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --conf-dir docs/site . build/site

models: $(DESKTOP)
ifndef PHOTOS
	$(BIN)/python train/recipes/digit_photos.py --output build/digits
endif
	$(BIN)/edge-train $(or $(PHOTOS),build/digits) --output $(RUN) --weights $(WEIGHTS) --alpha $(ALPHA) --resolution $(RESOLUTION)
	$(BIN)/edge-convert $(RUN) --output $(MODELS) $(CONVERT)
	$(BIN)/edge-convert --verify $(MODELS)
	$(BIN)/edge-benchmark $(MODELS) --result-json $(MODELS)/benchmark.json --markdown $(MODELS)/benchmark.md
	cd $(MODELS) && sha256sum *.tflite *.json *.md report.html > SHA256SUMS

backbones: $(DESKTOP)
	$(BIN)/python train/recipes/backbones.py --output $(BACKBONES) --weights $(WEIGHTS) --alpha $(ALPHA) --resolution $(RESOLUTION) $(if $(PICTURES),--photos $(PICTURES))
	cd $(BACKBONES) && sha256sum *.tflite *.json > SHA256SUMS

builtin-model: $(DESKTOP)
	$(BIN)/python train/recipes/builtin_model.py --output runs/builtin $(if $(MNIST),--mnist $(MNIST))
	$(BIN)/edge-convert runs/builtin --output models/builtin --precision int8 --replace
	cp models/builtin/mobilenet_v2_0.35_96_int8.tflite edge/edge_classify/model/builtin.tflite

benchmarks: $(DESKTOP)
	set -e; for program in $(BENCHMARKS); do echo "benchmarks/$$program.py"; $(BIN)/python "benchmarks/$$program.py"; done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(DEVICE): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[web]'
	touch $@

# From nothing in two commands, not four: pip builds our package anew for each.
$(CHECK): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[web,dev]'
	touch $(DEVICE) $@

$(DOCS): $(CHECK)
	$(PIP) --editable '.[docs]'
	touch $@

$(DESKTOP): $(CHECK)
	$(PIP) --editable '.[train,dev,cluster,docs]'
	# MediaPipe reads our model files in a test. Without its dependencies: it would bring a second OpenCV.
	$(PIP) --no-deps mediapipe absl-py
	touch $(DOCS) $@

clean:
	rm -rf $(VENV) build dist
