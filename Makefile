# make demo     see a drawn camera classified, with its latency (installs the device side only)
# make test     install everything, then linters, types and tests
# make builtin-model [MNIST=mnist.npz]    train the digit reader that ships in the package
# make benchmarks   the figures of benchmarks/README.md, with real photos beside the clone

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEVICE = $(VENV)/.device
DESKTOP = $(VENV)/.desktop

.PHONY: demo test lint types builtin-model benchmarks clean

demo: $(DEVICE)
	$(BIN)/edge-classify --camera demo --count 240

test: lint types
	$(BIN)/python -m pytest

lint: $(DESKTOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DESKTOP)
	$(BIN)/mypy

builtin-model: $(DESKTOP)
	$(BIN)/python train/recipes/builtin_model.py --output runs/builtin $(if $(MNIST),--mnist $(MNIST))
	$(BIN)/edge-convert runs/builtin --output models/builtin --precision int8
	cp models/builtin/mobilenet_v2_0.35_96_int8.tflite edge/edge_classify/builtin.tflite

benchmarks: $(DESKTOP)
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/agreement.py
	$(BIN)/python benchmarks/bias_correction.py
	$(BIN)/python benchmarks/budget.py
	$(BIN)/python benchmarks/builtin.py
	$(BIN)/python benchmarks/converting.py
	$(BIN)/python benchmarks/loop.py
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
