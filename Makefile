# make demo     see a drawn camera classified, with its latency (installs the device side only)
# make test     install everything, then linters, types and tests
# make models   the whole grid of model files, as CI builds it: of drawn digits, or of PHOTOS=folder;
#               [WEIGHTS=imagenet ALPHA="0.35 0.5" RESOLUTION="96 128" RUN=runs/grid MODELS=models/grid]
# make builtin-model [MNIST=mnist.npz]    train the digit reader that ships in the package
# make benchmarks   the figures of benchmarks/README.md, with real photos beside the clone

PYTHON ?= python3
VENV ?= .venv
WEIGHTS ?= imagenet
ALPHA ?= all
RESOLUTION ?= all
RUN ?= runs/grid
MODELS ?= models/grid
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEVICE = $(VENV)/.device
DESKTOP = $(VENV)/.desktop

.PHONY: demo test lint types models builtin-model benchmarks clean

demo: $(DEVICE)
	$(BIN)/edge-classify --camera demo --count 240

test: lint types
	$(BIN)/python -m pytest

lint: $(DESKTOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github/workflows

types: $(DESKTOP)
	$(BIN)/mypy

models: $(DESKTOP)
ifndef PHOTOS
	$(BIN)/python train/recipes/digit_photos.py --output build/digits
endif
	$(BIN)/edge-train $(or $(PHOTOS),build/digits) --output $(RUN) --weights $(WEIGHTS) --alpha $(ALPHA) --resolution $(RESOLUTION)
	$(BIN)/edge-convert $(RUN) --output $(MODELS) $(CONVERT)
	$(BIN)/edge-convert --verify $(MODELS)
	$(BIN)/edge-benchmark $(MODELS) --result-json $(MODELS)/benchmark.json --markdown $(MODELS)/benchmark.md
	cd $(MODELS) && sha256sum *.tflite *.json *.md report.html > SHA256SUMS

builtin-model: $(DESKTOP)
	$(BIN)/python train/recipes/builtin_model.py --output runs/builtin $(if $(MNIST),--mnist $(MNIST))
	$(BIN)/edge-convert runs/builtin --output models/builtin --precision int8
	cp models/builtin/mobilenet_v2_0.35_96_int8.tflite edge/edge_classify/model/builtin.tflite

benchmarks: $(DESKTOP)
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/agreement.py
	$(BIN)/python benchmarks/budget.py
	$(BIN)/python benchmarks/builtin.py
	$(BIN)/python benchmarks/converting.py
	$(BIN)/python benchmarks/decisions.py
	$(BIN)/python benchmarks/instructions.py
	$(BIN)/python benchmarks/loop.py
	$(BIN)/python benchmarks/multipliers.py
	$(BIN)/python benchmarks/peers.py
	$(BIN)/python benchmarks/quantization.py
	$(BIN)/python benchmarks/repeatability.py
	$(BIN)/python benchmarks/soak.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/training.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(DEVICE): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(DESKTOP): $(DEVICE)
	$(PIP) --editable '.[train,dev]'
	# MediaPipe reads our model files in a test. Without its dependencies: it would bring a second OpenCV.
	$(PIP) --no-deps mediapipe
	$(PIP) absl-py
	touch $@

clean:
	rm -rf $(VENV) build dist
