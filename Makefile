# make demo: the whole way on a real set   make test: all tests   make lint: style and types
# make app: a page on which the model of the demo can be tried
# make test-fast: the tests that take less than about three seconds each, for while one works
# make bench: how fast it is, beside the original code if ORIGINAL is the path of a clone of it, and how long it takes to
# an accuracy on DATASET
# make test-transformers: the tests that transformers has for all its models
# make test-oldest: all tests with the oldest versions of constraints-oldest.txt, or some: TESTS="tests/test_x.py ..."
PYTHON ?= python3
BIN := .venv/bin
SOURCES := *.py data_timemae training_timemae scripts studies tests
TYPED := *.py data_timemae training_timemae scripts studies

ORIGINAL ?=
DATASET ?= uci_har
TESTS ?=

.PHONY: demo app bench test test-fast test-oldest test-transformers lint format

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv-oldest/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/pip install --quiet --constraint constraints-oldest.txt --editable ".[dev]"
	touch $@

demo: .venv/installed
	rm -rf outputs/demo
	$(BIN)/python scripts/run_experiment.py --dataset JapaneseVowels \
		--validation_size 0 --label_fraction 0.07 --seeds 0 1 2 --output_dir outputs/demo \
		--pretraining_arguments "--num_hidden_layers 4 --decoder_num_hidden_layers 2 --save_strategy no" \
		--fine_tuning_arguments "--save_strategy no"

app: .venv/installed
	$(BIN)/python scripts/app.py --model_name_or_path outputs/demo

bench: .venv/installed
	rm -rf outputs/benchmark
	$(BIN)/python studies/benchmark.py --output_dir outputs/benchmark --readme docs/speed.md \
		$(if $(ORIGINAL),--original $(ORIGINAL))
	cp outputs/benchmark/results.json results/benchmark.json
	cp outputs/benchmark/benchmark.png results/
	$(BIN)/python studies/time_to_accuracy.py --dataset $(DATASET) --output_dir outputs/time_to_accuracy \
		$(if $(ORIGINAL),--original $(ORIGINAL))
	cp outputs/time_to_accuracy/results.json results/time_to_accuracy.json
	cp outputs/time_to_accuracy/time_to_accuracy.png results/

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-fast: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow"

test-oldest: .venv-oldest/installed
	.venv-oldest/bin/python -m pytest $(TESTS)

test-transformers: .venv/installed
	$(BIN)/python tests/run_transformers_suite.py

lint: .venv/installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(TYPED)

format: .venv/installed
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
