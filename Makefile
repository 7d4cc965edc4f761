# Everything one does with the project, one target each. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
TRITON := .venv-triton
MLSERVER := .venv-mlserver
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

MODELS ?= models
LISTEN ?= 127.0.0.1:50051
CONFIG ?= examples/movies.toml
USERS ?= users.parquet
OUT ?= recommendations.parquet
DATA ?= data/public
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo train serve score test test-slow chaos check format protos lock bench-serving bench-retrieval bench-catalogues bench-score bench-stopped-reader bench-cold-start bench-options bench-filters bench-living bench-identity bench-protections bench-budget bench-quality bench-ranker bench-training bench-memory bench-negatives bench-classic bench-svd image clean

help: ## lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | while IFS='|' read -r target what; do printf '  make %-15s %s\n' "$$target" "$$what"; done

demo: $(VENV)/installed ## trains on MovieLens 100K, serves the model and asks it: the whole way in minutes
	python examples/demo.py

train: $(VENV)/installed ## trains and publishes a model (CONFIG=examples/movies.toml MODELS=models)
	bascule train $(CONFIG) --out $(MODELS)

serve: $(VENV)/installed ## serves the models (MODELS=models LISTEN=127.0.0.1:50051)
	bascule serve --models $(MODELS) --listen $(LISTEN)

score: $(VENV)/installed ## scores a file of users through a server's stream (USERS=users.parquet OUT=recommendations.parquet)
	bascule score $(USERS) --out $(OUT) --server $(LISTEN)

test: check ## checks everything and runs the tests
	pytest -n 2 -m "not slow"

test-slow: $(VENV)/installed ## runs the tests that take long, and shows the figures that they print
	pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow -rAP --durations=20

chaos: $(VENV)/installed ## has faults strike a server under load for two minutes, drawn from a seed (SEED=1)
	CHAOS_SEEDS="$(SEED)" CHAOS_SECONDS=120 pytest -q -s -m slow tests/fault/test_chaos.py

check: $(VENV)/installed ## format, lint, types, definitions, and stubs equal to a fresh generation
	ruff format --check .
	ruff check .
	mypy
	python protos/check.py

format: $(VENV)/installed ## formats the code and mends what the linter can
	ruff format .
	ruff check --fix .

protos: $(VENV)/installed ## generates the Python stubs from the definitions
	python protos/generate.py

lock: $(VENV)/installed ## writes the lock files anew from pyproject.toml
	uv pip compile pyproject.toml --extra dev --output-file requirements-dev.txt $(LOCK_OPTIONS)
	uv pip compile pyproject.toml --extra server --constraints requirements-dev.txt --output-file requirements-server.txt $(LOCK_OPTIONS)
LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade

bench-serving: $(VENV)/installed $(TRITON)/installed $(MLSERVER)/installed ## calls/s, users/s and latency, beside Triton, MLServer and a C++ server
	python benchmarks/serving.py --triton-python $(TRITON)/bin/python --mlserver-python $(MLSERVER)/bin/python

bench-retrieval: $(VENV)/installed ## exact retrieval over the bare product, and the index over FAISS called directly
	python benchmarks/retrieval.py
	python benchmarks/index.py

bench-catalogues: $(VENV)/installed ## users/s, start and memory by the size of the catalogue
	python benchmarks/catalogues.py

bench-score: $(VENV)/installed ## `bascule score` from Parquet to Parquet, over the scorer alone
	python benchmarks/score.py

bench-stopped-reader: $(VENV)/installed ## memory while a stream's reader has stopped for a minute
	python benchmarks/stopped_reader.py

bench-cold-start: $(VENV)/installed ## imports, the start of a server, and the size of the image's packages
	python benchmarks/cold_start.py

bench-filters: $(VENV)/installed ## what filters find in an index of 1,000,000 items, beside filtering afterwards
	python benchmarks/filters.py

bench-living: $(VENV)/installed ## how soon changes of the catalogue are served, and what they cost
	python benchmarks/living_catalogue.py

bench-options: $(VENV)/installed ## what each option of a recommendation costs
	python benchmarks/options.py

bench-identity: $(VENV)/installed ## what it costs to ask who calls
	python benchmarks/who_may_call.py

bench-protections: $(VENV)/installed ## calls/s with every protection, over none, and what TLS costs
	python benchmarks/protections.py

bench-budget: $(VENV)/installed ## where the time of a call goes
	python benchmarks/call_budget.py
	python benchmarks/lone_call.py

bench-quality: $(VENV)/installed ## trains on public data sets beside baselines, for hours (DATA=data/public)
	python benchmarks/quality.py --data $(DATA)

bench-ranker: $(VENV)/installed ## what a ranking tower adds to retrieval (DATA=data/public RANKER="--set online_retail")
	python benchmarks/ranker.py --data $(DATA) $(RANKER)

bench-training: $(VENV)/installed $(PEERS)/installed ## measures a training step by the size of the catalogue, and beside others
	python benchmarks/training.py --keras-rs-python $(PEERS)/bin/python --tfrs-python $(PEERS)/bin/python

bench-memory: $(VENV)/installed ## measures the memory of training on a million and on ten million interactions
	python benchmarks/memory.py

bench-negatives: $(VENV)/installed ## compares what a target competes with, on public data sets (DATA=data/public)
	python benchmarks/negatives.py --data $(DATA)

bench-classic: $(VENV)/installed ## the classic model as it is often shown, and as Bascule trains it
	bascule data generate --out data/generated
	bascule data movielens --out data/movielens
	python benchmarks/classic_model.py data/generated data/movielens

bench-svd: $(VENV)/installed ## two towers beside factorisation: the figures of docs/two_towers_and_svd.md
	python benchmarks/two_towers_and_svd.py

image: ## builds the server's image
	docker build --tag bascule .

clean: ## removes what was built; models and data stay
	rm -rf $(VENV) $(PEERS) $(TRITON) $(MLSERVER) build dist *.egg-info client/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Bascule needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}. Name another: make PYTHON=python3.12 ..."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(PEERS)/installed: requirements-dev.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet $$(grep -oE '^tensorflow==[0-9.]+' requirements-dev.txt) keras-rs tensorflow-recommenders tf-keras
	touch $@

$(TRITON)/installed:
	$(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/pip install --quiet nvidia-pytriton==0.7.0 'numpy<2' ai-edge-litert==2.3.0
	touch $@

$(MLSERVER)/installed:
	$(PYTHON) -m venv $(MLSERVER)
	$(MLSERVER)/bin/pip install --quiet mlserver==1.7.1 ai-edge-litert==2.3.0
	touch $@
