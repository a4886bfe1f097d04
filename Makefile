# make demo: the whole way on a real set   make test: all tests   make lint: style
# make bench: how fast it is, beside the original code if ORIGINAL is the path of a clone of it
# make test-transformers: the tests that transformers has for all its models
PYTHON ?= python3
BIN := .venv/bin
SOURCES := *.py scripts tests

ORIGINAL ?=

.PHONY: demo bench test test-transformers lint format

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: .venv/installed
	rm -rf outputs/demo
	$(BIN)/python scripts/run_experiment.py --dataset BasicMotions --patch_length 5 --batch_size 64 \
		--validation_size 0 --label_fraction 0.2 --seeds 0 1 2 \
		--pretraining_epochs 400 --fine_tuning_epochs 60 --output_dir outputs/demo \
		--pretraining_arguments "--num_hidden_layers 4 --decoder_num_hidden_layers 2 --save_strategy no" \
		--fine_tuning_arguments "--save_strategy no"

bench: .venv/installed
	rm -rf outputs/benchmark
	$(BIN)/python scripts/benchmark.py --output_dir outputs/benchmark --readme docs/speed.md \
		$(if $(ORIGINAL),--original $(ORIGINAL))
	cp outputs/benchmark/results.json results/benchmark.json
	cp outputs/benchmark/benchmark.md outputs/benchmark/benchmark.png results/

test: .venv/installed
	$(BIN)/python -m pytest

test-transformers: .venv/installed
	$(BIN)/python tests/run_transformers_suite.py

lint: .venv/installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

format: .venv/installed
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
