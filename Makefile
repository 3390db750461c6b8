# Everything runs in .venv, which `make install` makes from nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# With other work on the machine, waiting OpenMP threads would burn the cores.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo demo-page test test-browser test-faults lab install bench-quality bench-released bench-sources bench-translators bench-gap bench-preparing bench bench-before-after bench-overhead bench-determinism clean

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or later is needed, found ' + sys.version.split()[0]) if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

install: $(VENV)/.installed ## the package and what its tests need, in .venv

demo: install ## the whole way on built-in data: about 7 minutes on 2 quiet cores
	$(BIN)/socketlab run --params notebooks/params/demo.yaml

demo-page: install ## for a lecture hall, on loopback: the gap, and a short transfer to start
	$(BIN)/socketlab page

test: install ## lint, types, layers and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not browser and not faults" -n 2 --dist loadfile

test-browser: install ## notebooks 03, 04 and 05 in JupyterLab and Chromium; about 3 minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser

test-faults: install ## nodes removed, workers killed, disks full, on two Ray nodes of this machine
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m faults

lab: install ## JupyterLab on loopback; the address it prints carries the token
	$(BIN)/socketlab lab --no-browser

bench: install ## how fast training is, against bare forward and backward; 25 minutes, resumes
	$(BIN)/python benchmarks/speed.py

bench-quality: install ## the quality table: three seeds, resumes where it was interrupted
	$(BIN)/python benchmarks/quality.py

bench-released: install ## SOCKET, from ours to the released program's switch by switch; resumes
	$(BIN)/python benchmarks/quality.py socket_as_released socket_as_released_nyuv2

bench-sources: install ## SOCKET from several source models; resumes after each training
	$(BIN)/python benchmarks/several_sources.py

bench-translators: install ## translators, TGKT and their ablations; resumes
	$(BIN)/python benchmarks/quality.py translator_scenes translator_nyuv2 translator_terms \
	  translator_zoo translator_adversary tgkt_terms

bench-gap: install ## what the gap laboratory costs: measures, maps, explorer; about 15 minutes
	$(BIN)/python benchmarks/gap_numbers.py --write
	$(BIN)/python benchmarks/gap_maps.py --write
	$(BIN)/python benchmarks/gap_explorer.py --write

bench-preparing: install ## how fast images are prepared, against decoding alone; about 2 minutes
	$(BIN)/python benchmarks/preparing.py --write

bench-overhead: install ## what a run of a sweep costs beside its training; about 6 minutes
	$(BIN)/python benchmarks/overhead.py --write

bench-determinism: install ## what deterministic mode costs a step; a minute
	$(BIN)/python benchmarks/determinism.py --write

bench-before-after: install ## this version against the first one, by turns: speed, then accuracy
	$(BIN)/python benchmarks/before_after.py --write
	$(BIN)/python benchmarks/before_after.py --quality --write

clean: ## remove the environment; runs/ and data/ stay
	rm -rf $(VENV)
