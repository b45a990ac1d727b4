# Every target works on a machine with only Python >= 3.11, make and a C compiler: it makes .venv first.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PEERS := .venv/.peers
# A process of pytest for each core; one that is done takes tests over from the others. `make test PARALLEL=` has one.
PARALLEL := --numprocesses logical --maxprocesses 8 --dist worksteal

# Nothing is compiled when it is installed: what is imported is, once, and has to be kept. Without that each process
# that trains, of which tests start many, takes 12 s of a core to import what it needs, and with it 5 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo wheel test test-all lower-bounds mutations coverage newest-torchcodec bench bench-full check docs house types clean

help:
	@echo "make demo      the whole way on generated videos: cache, training, a prediction"
	@echo "make wheel     sdist and wheel in dist/, checked, and the demo in an environment that has nothing but the wheel"
	@echo "make test      the tests; make test-all also runs the slow ones"
	@echo "make mutations damages 3,700 files of all kinds at random and looks what becomes of them, 10 minutes"
	@echo "make coverage  the tests, and which lines and branches they do not reach"
	@echo "make lower-bounds installs the oldest versions that pyproject.toml allows, and goes the whole way with them"
	@echo "make check     ruff and the type checker"
	@echo "make docs      the site of docs/, in site/: guides, every option, the Python interface; it opens without a network"
	@echo "make house     figures of the code: modules, folders, arrows, and the files that four commands run through"
	@echo "make bench     the benchmarks beside their peers, 15 minutes: benchmarks/RESULTS.md; make bench-full measures more"
	@echo "make install   .venv with signprep in it"

install: $(INSTALLED)

# Most of what is installed is never imported: nothing is compiled beforehand.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing signprep, torch and what it is developed with into .venv: some minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	PYTHONWARNINGS=ignore:::setuptools.command.editable_wheel \
		$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt --editable '.[train,landmarks,onnx,serve,s3,sftp,http,dask]' --group dev
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/signprep demo

wheel: $(INSTALLED)
	$(BIN)/python -m tests.from_wheel

test: $(INSTALLED)
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-all: $(INSTALLED)
	$(BIN)/python -m pytest $(PARALLEL)

lower-bounds: $(INSTALLED)
	$(BIN)/python -m tests.lower_bounds

mutations: $(INSTALLED)
	$(BIN)/python -m tests.mutations

coverage: $(INSTALLED)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --sort=cover

$(PEERS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt --group bench
	$(BIN)/python -m venv .venv/mosaicml  # it asks for NumPy below 2.2; everything else comes from .venv
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$(.venv/mosaicml/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/outer.pth
	.venv/mosaicml/bin/python -m pip install --quiet mosaicml-streaming
	touch $(PEERS)

# What PyPI has of it since 0.14 is built against a torch with CUDA: 5 GB, for one row of the benchmark of decoding.
newest-torchcodec: $(PEERS)
	$(BIN)/python -m venv .venv/torchcodec
	.venv/torchcodec/bin/python -m pip install --quiet torchcodec torch numpy

bench: $(PEERS)
	$(BIN)/python -m benchmarks --results benchmarks/RESULTS.md

bench-full: $(PEERS)
	$(BIN)/python -m benchmarks --full --results benchmarks/RESULTS-full.md

# The type checker does not know setuptools' package-dir: it reads a tree of symbolic links instead.
types:
	mkdir -p .types/signprep
	for folder in pipeline cache_builder training inference; do \
		ln -sfn ../../$$folder .types/signprep/$$folder; done

check: $(INSTALLED) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; fi  # not built for every machine

docs: $(INSTALLED) types
	$(BIN)/python -m pip install --quiet -c constraints.txt --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

house: $(INSTALLED)
	$(BIN)/python -m tests.house --walks

clean:
	rm -rf .venv .types .mypy_cache .pytest_cache .ruff_cache
