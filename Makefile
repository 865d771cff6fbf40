# Every target sets up what it needs, in .venv, and can be run again at any time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
export UV_PYTHON_DOWNLOADS = never

.PHONY: install demo test check format bench soak lock clean
.DEFAULT_GOAL := install

install: $(STAMP)

$(STAMP): pyproject.toml requirements.lock scripts/bootstrap.sh
	PYTHON=$(PYTHON) scripts/bootstrap.sh $(VENV)
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/oellm-bench run demo -C examples/demo --fake

test: $(STAMP) check
	$(PYTEST) -n 2 --dist loadgroup

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks

soak: $(STAMP)
	$(PYTEST) -m soak

lock: $(STAMP)
	$(BIN)/uv pip compile -q --universal --generate-hashes --all-extras --python-version 3.11 --no-header pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) demo-output .pytest_cache .mypy_cache .ruff_cache dist
