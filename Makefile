# The commands people call; continuous integration calls the same ones.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

DATA   ?= ../shared/data

.PHONY: demo test test-gpu test-gpu-interpret check bench bench-gpu results clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

demo: $(READY)  ## train on the embedded default, then sample and score
	$(BIN)/python -m examples.demo

test: $(READY)
	$(BIN)/python -m pytest -n auto tests comporta

# What asks for the GPU's kernels in particular, with every cell.
GPU_TESTS := tests/test_kernels_conformance.py tests/test_operator.py tests/test_gpu.py -k gpu

test-gpu: $(READY)  ## on a machine with a GPU
	COMPORTA_TEST_GPU=all $(BIN)/python -m pytest $(GPU_TESTS)

test-gpu-interpret: $(READY)  ## the same without one: Triton's interpreter, more than ten minutes
	COMPORTA_TEST_GPU=all TRITON_INTERPRET=1 $(BIN)/python -m pytest -n auto $(GPU_TESTS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)  ## measure everything, with rivals; nothing else should run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	for name in layers picture rivals memory streaming regularizers catalog ablation large; do \
		$(BIN)/python benchmarks/$$name.py || exit 1; \
	done

bench-gpu: $(READY)  ## the same on a machine with a GPU
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/gpu.py

results: $(READY)  ## one row of docs/results.md: make results TASK=trec DATA=folder
	$(BIN)/python -m benchmarks.tasks $(TASK) --data $(DATA)

clean:
	rm -rf $(VENV) build dist *.egg-info
