# What can be done with this tree. `make` or `make help` lists it. All set-up happens in .venv, without root.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first Python from 3.11 on that this user can run.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
N ?= 2000
JOBS ?= $(shell nproc)
# Tests with real processes wait for more than half of their time, so each core has room for two of them.
CLUSTER_JOBS ?= $(shell echo $$(( 2 * $(JOBS) )))
# Those that take long also use more of the processors.
SLOW_JOBS ?= $(shell echo $$(( $(JOBS) + 1 )))
# Half of the time of the units is waits for short timers.
UNIT_JOBS ?= $(shell echo $$(( 2 * $(JOBS) )))
SECONDS ?= 60
APPLICATIONS ?= 200
MUTATIONS ?= 1000000
CLIENTS ?= 1000
MINUTES ?= 60
RECORD_SECONDS ?= 300
MEGABYTES ?= 1024
SEED ?=
QUICK ?=
PARTS ?=
ONLY ?=
BENCH ?=

# Tests with real processes and measurements work in a copy of this tree that has the hot modules as machine code;
# COMPILED=no has them work here, from source.
COMPILED ?= yes
COVERAGE ?= yes
ifeq ($(COMPILED),yes)
IN_COPY := cd build/compiled && PYTHONPATH=$(CURDIR)/build/compiled
else
IN_COPY := PYTHONPATH=$(CURDIR)
endif

# The tests start thousands of processes. Python keeps its byte code for them, whatever the environment says.
unit scenarios simulation cluster cluster-slow sam: export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup compiled run narrate test test-lowest lint format types imports unit scenarios simulation cluster cluster-slow sam \
	sam-chaos sim \
	digests world crowd chaos recipes-chaos transfer bench bench-compare bench-core bench-replicated screenshots forgeries fuzz fuzz-c load-c kills kills-c pacemaker restarts flood overload sixteen detection failover rates scale mutants mutations playback floods \
	interrupts waiting wheels newcomer docs compose test-wheels deb test-deb man clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# The packages of one part of constraints.txt, each file with its hash, into a venv.
install-part = mkdir -p build; sed -n '/^\# part: $(2)$$/,/^\# part: /p' constraints.txt > build/$(2).txt; \
	$(1)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r build/$(2).txt

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python from 3.11 on with venv was found; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(call install-part,$(BIN),dev)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.ready ## make .venv with everything that is needed

compiled: setup ## a copy of this tree with machine code, in build/compiled (a minute; needs a C compiler), if it is not current
ifeq ($(COMPILED),yes)
	@$(BIN)/python -m tests.compiled_tree || { [ $$? = 3 ] && [ -z "$${CI:-}" ]; }
endif

run: setup ## the main job, on this machine, without root
	@$(BIN)/rondo demo

narrate: setup ## a scenario of the ring in the simulator, told step by step
	@$(BIN)/python -m tests.simulation narrate

test: setup ## everything that must hold (some 12 minutes on 2 cores)
	@$(MAKE) -j2 types lint imports
	@$(MAKE) -j2 unit compiled COVERAGE=no
	@$(MAKE) simulation cluster sam

lint: setup ## style, format, and the length and privacy rules of the house
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m tests.style

format: setup ## put the format right
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup ## mypy, strict
	@$(BIN)/mypy

imports: setup ## the import rules (the ring does no I/O; services stay apart)
	@$(BIN)/lint-imports --no-cache

unit: setup ## tests without network or processes; how many lines they reach (COVERAGE=no, as in make test: without)
ifeq ($(COVERAGE),yes)
	@mkdir -p build
	@COVERAGE_FILE=build/coverage $(BIN)/pytest -q -n $(UNIT_JOBS) --cov=services --cov=rondo --cov-report= \
		tests/unit tests/checker
	@echo "lines of services and rondo that these tests reach (the rest of the tests are not counted):" \
		"$$(COVERAGE_FILE=build/coverage $(BIN)/coverage report --format=total) %"
else
	@$(BIN)/pytest -q -n $(UNIT_JOBS) tests/unit tests/checker
endif

scenarios: setup ## the ring in the simulator, from source: scenarios
	@$(BIN)/pytest -q -n $(JOBS) tests/simulation

simulation: scenarios compiled ## the scenarios, and 200 seeds with machine code
	@$(IN_COPY) $(BIN)/python -m tests.simulation run --seeds 200 --jobs $(JOBS)

cluster: compiled ## real processes in network namespaces, with C Corosync where it is installed
	@$(IN_COPY) $(BIN)/pytest -q -n $(CLUSTER_JOBS) --dist worksteal -m "not slow" tests/cluster tests/interop

cluster-slow: compiled ## those of them that take long; CI runs them after `make test`
	@$(IN_COPY) $(BIN)/pytest -q -n $(SLOW_JOBS) --dist worksteal -m slow tests/cluster tests/interop

LOWEST := build/lowest
$(LOWEST)/.ready: pyproject.toml constraints.txt tests/lowest.py $(VENV)/.ready
	@$(PYTHON) -m venv $(LOWEST)
	@$(BIN)/python -m tests.lowest > build/lowest.txt
	@$(LOWEST)/bin/pip install --quiet --disable-pip-version-check -c build/lowest.txt -e '.[dev]'
	@touch $@

test-lowest: $(LOWEST)/.ready ## what uses other packages, with the lowest versions that pyproject.toml admits
	@$(LOWEST)/bin/pytest -q -n $(JOBS) -p no:cacheprovider \
		$(addprefix tests/unit/,client config ipc node protocol security) tests/simulation/test_sealed.py

sam: compiled ## applications under SAM: killed, hung, broken; and SAM itself killed
	@$(IN_COPY) $(BIN)/pytest -q -n $(CLUSTER_JOBS) --dist worksteal tests/sam

sam-chaos: compiled ## 200 applications killed at random, and SAM too (SECONDS=60, APPLICATIONS=200, SEED=1)
	@$(IN_COPY) $(BIN)/python -m tests.sam.chaos --seconds $(SECONDS) --applications $(APPLICATIONS) --seed $(or $(SEED),1)
	@$(IN_COPY) $(BIN)/python -m tests.sam.chaos --seconds $(SECONDS) --applications $(APPLICATIONS) --seed $(or $(SEED),1) --kill-sam-every 7

sim: setup ## many seeds: make sim N=5000, or one again: make sim SEED=17
	@$(BIN)/python -m tests.simulation run $(if $(SEED),--seed $(SEED),--seeds $(N)) --jobs $(JOBS)

world: setup ## process groups under kills and ring changes: make world N=4000, or one again: make world SEED=897
	@$(BIN)/python -m tests.unit.cpg $(if $(SEED),--seed $(SEED),--seeds $(N)) --jobs $(JOBS)

crowd: compiled ## a thousand clients of one node, killed at once (make crowd CLIENTS=...)
	@$(IN_COPY) RONDO_CROWD=$(CLIENTS) $(BIN)/pytest -q tests/cluster/test_crowd.py

waiting: setup ## a thousand clients that wait for a node that is away: under 1 % of a core in all (CLIENTS=..., SECONDS=90)
	@$(BIN)/python -m tests.cluster.waiting --clients $(CLIENTS) --seconds $(if $(filter file,$(origin SECONDS)),90,$(SECONDS))

interrupts: setup ## calls of the client ended by signals and cancellations at random places, 5 minutes (COUNT=100000)
	@RONDO_INTERRUPTS=$(or $(COUNT),100000) $(BIN)/pytest -q -s --timeout 3600 -o faulthandler_timeout=0 tests/unit/gateway/test_interrupts.py

chaos: compiled ## faults of all kinds on real nodes, judged by the checker: make chaos SECONDS=60 SEED=1
	@$(IN_COPY) $(BIN)/python -m tests.cluster.chaos --seconds $(SECONDS) --seed $(or $(SEED),1)

recipes-chaos: $(VENV)/.ready ## faults on real nodes while all recipes are used, judged by the checker: make recipes-chaos SECONDS=600 SEED=1 (RECIPES=lock)
	@RONDO_RECIPES="$(RECIPES)" RONDO_RECIPES_SECONDS=$(SECONDS) RONDO_RECIPES_SEED=$(or $(SEED),1) $(BIN)/pytest -q -s -rN --timeout 0 -o faulthandler_timeout=0 \
		tests/cluster/test_recipes_chaos.py

transfer: compiled ## a large state comes to a node that joins while commands go on and the giver is killed: make transfer MEGABYTES=1024
	@$(IN_COPY) $(BIN)/python -m tests.cluster.transfer.run --megabytes $(MEGABYTES)

$(VENV)/.ready-bench: $(VENV)/.ready
	@$(call install-part,$(BIN),bench)
	@touch $@

bench: $(VENV)/.ready-bench compiled ## Rondo beside C Corosync (root or user namespaces): make bench QUICK=1 PARTS="throughput latency" OUT=DIR BENCH="..."
	@$(IN_COPY) $(BIN)/python -m bench --out $(abspath $(or $(OUT),bench/results)) $(if $(QUICK),--quick) $(if $(PARTS),--parts "$(PARTS)") $(BENCH)

bench-compare: $(VENV)/.ready-bench compiled ## this tree beside another commit, in turns: make bench-compare REF=HEAD~20 BENCH="--rounds 9"
	@$(IN_COPY) $(BIN)/python -m bench.compare $(REF) $(if $(PARTS),--parts "$(PARTS)") $(BENCH)

bench-core: setup ## the parts by themselves: events per second of the ring, packing, bus, cpg, security
	@$(BIN)/python -m bench.core $(BENCH)

bench-replicated: compiled ## replicated increments beside PySyncObj's, and the time to go on after kill -9 (BENCH="--rounds 5")
	@$(IN_COPY) $(BIN)/python -c 'import pysyncobj' 2>/dev/null || { $(call install-part,$(BIN),pysyncobj); }
	@$(IN_COPY) $(BIN)/python -m bench.replicated $(BENCH)

digests: setup ## a digest of the trace of each seed, to see that a change of the ring's code changes no behaviour (N=300)
	@mkdir -p build
	@$(BIN)/python -m tests.simulation run --seeds $(N) --jobs $(JOBS) --digests build/digests.txt
	@echo "build/digests.txt: $$(sha256sum < build/digests.txt | cut -d' ' -f1)"

forgeries: setup ## rings under well-formed forgeries: make forgeries N=500, or one again: make forgeries SEED=17
	@$(BIN)/python -m tests.simulation forge $(if $(SEED),--seed $(SEED),--seeds $(N)) --jobs $(JOBS)

fuzz: setup ## every decoder, coverage-guided, by atheris (make fuzz SECONDS=600, for each)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || { $(call install-part,$(BIN),fuzz); }
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --jobs $(JOBS) --corpus build/fuzz

kills: compiled ## kill -9 of cpg, gateway and sam a hundred times each, under load: nobody may notice
	@$(IN_COPY) $(BIN)/python -m tests.cluster.chaos --kills $(or $(KILLS),100) --seed $(or $(SEED),1)

kills-c: compiled ## kill -9 of each process of a node 50 times (KILLS=..., or as often as SECONDS=... let), under C programs: the checker judges their logs
	@$(IN_COPY) $(BIN)/python -m tests.interop.kills --kills $(or $(KILLS),50) --seed $(or $(SEED),1) $(if $(filter file,$(origin SECONDS)),,--seconds $(SECONDS))

pacemaker: compiled ## the life of Pacemaker's clusters on Rondo, mixed, and on C Corosync; from C to Rondo node by node and back (root)
	@$(IN_COPY) RONDO_PACEMAKER=all $(BIN)/pytest -q -s tests/interop/test_pacemaker.py tests/interop/test_replacement.py

load-c: compiled ## programs on libcpg and on Rondo's client at full speed in one group, 100,000 messages of each (MESSAGES=...)
	@$(IN_COPY) RONDO_LOAD_MESSAGES=$(or $(MESSAGES),100000) $(BIN)/pytest -q -s -rN -o faulthandler_timeout=0 tests/interop/test_c_load.py

fuzz-c: compiled ## a million requests that make no sense, by a program in C to the sockets of Corosync (REQUESTS=...)
	@$(IN_COPY) RONDO_FUZZ_REQUESTS=$(or $(REQUESTS),1000000) RONDO_FUZZ_SEED=$(or $(SEED),1) $(BIN)/pytest -q -s -o faulthandler_timeout=0 tests/interop/test_c_fuzz.py

restarts: compiled ## a node killed and started fifty times in a row under load
	@$(IN_COPY) $(BIN)/python -m tests.cluster.chaos --restarts $(or $(RESTARTS),50) --seed $(or $(SEED),1)

flood: compiled ## forged, replayed and altered packets, 5000 a second
	@$(IN_COPY) $(BIN)/python -m tests.cluster.chaos --flood $(SECONDS) --seed $(or $(SEED),1)

overload: compiled ## a client that never reads, beside a sender at full speed: make overload SECONDS=300
	@$(IN_COPY) $(BIN)/python -m tests.cluster.chaos.overload --seconds $(SECONDS)

sixteen: compiled ## sixteen nodes under full load: no membership may change (make sixteen SECONDS=300)
	@$(IN_COPY) $(BIN)/python -m tests.cluster.chaos.crowd --seconds $(SECONDS)

floods: compiled ## a ring under floods of garbage, from a stranger and in a member's name, beside C Corosync udpu (BENCH="--rounds 3")
	@$(IN_COPY) $(BIN)/python -m bench.floods $(BENCH)

detection: compiled ## how soon applications hear of what happens to a node
	@$(IN_COPY) $(BIN)/python -m bench.detection

screenshots: setup ## the pictures of the page of `rondo web` in docs/images (chromium, root or user namespaces)
	@$(BIN)/python -m tests.cluster.browser.screenshots

failover: compiled ## how long applications wait when one of two cables is pulled, beside C Corosync (PULLS=20, SEED=1, BENCH=--realtime)
	@$(IN_COPY) $(BIN)/python -m bench.failover --pulls $(or $(PULLS),20) --seed $(or $(SEED),1) $(BENCH)

rates: setup ## messages a second with loss, by Corosync's rules and by Rondo's, in the simulator (the table of docs/LOSS.md)
	@$(BIN)/python -m tests.simulation rates

scale: setup ## what rings of 2 to 128 nodes cost, in the simulator (the tables of docs/SCALE.md; NODES=2,16)
	@$(BIN)/python -m tests.simulation scale $(if $(NODES),--nodes $(NODES))

mutants: setup ## the core broken in one place at a time: do the tests notice? (JOBS=2, ONLY=cpg; about half an hour)
	@$(BIN)/python -m tests.mutants --jobs $(JOBS) --only "$(ONLY)"

mutations: setup ## a million altered packets change nothing (make mutations MUTATIONS=...)
	@RONDO_MUTATIONS=$(MUTATIONS) $(BIN)/pytest -q -n $(JOBS) --timeout 3600 tests/unit/security tests/unit/knet -k altered_packets

playback: setup ## sealed traffic, an hour simulated and five minutes real, played back: nothing is opened; and what knet opens
	@$(BIN)/python -m tests.simulation.playback --minutes $(MINUTES)
	@$(BIN)/python -m tests.simulation.knet_playback --minutes $(or $(KNET_MINUTES),2)
	@RONDO_RECORD_SECONDS=$(RECORD_SECONDS) $(BIN)/pytest -q tests/cluster/test_playback.py

# The interpreters for which there are wheels with machine code, as VERSION:PATH: of each version the first that is here with
# its headers, be it the system's, pyenv's or uv's.
WHEEL_PYTHONS ?= $(shell for v in 3.11 3.12 3.13; do for p in python$$v \
	"$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$v.*/bin/python3 \
	"$${UV_PYTHON_INSTALL_DIR:-$$HOME/.local/share/uv/python}"/cpython-$$v.*/bin/python3; do \
	"$$p" -c 'import os, sys, sysconfig, venv; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1] or \
		not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' $$v >/dev/null 2>&1 && { echo "$$v:$$p"; break; }; \
	done; done; true)
WHEEL_VERSIONS := $(foreach python,$(WHEEL_PYTHONS),$(firstword $(subst :, ,$(python))))

# The compiler, and what the source imports: its types count.
build/build.txt: packaging/some_constraints.py constraints.txt $(VENV)/.ready
	@mkdir -p build; sed -n '/^# part: dev$$/,/^# part: /p' constraints.txt > build/dev.txt
	@$(BIN)/python packaging/some_constraints.py build/dev.txt rondo mypy setuptools > $@

build/wheels/%/.ready: build/build.txt
	@$(patsubst $*:%,%,$(filter $*:%,$(WHEEL_PYTHONS))) -m venv --clear build/wheels/$*
	@build/wheels/$*/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r build/build.txt
	@touch $@

$(VENV)/.ready-wheels: $(VENV)/.ready
	@$(call install-part,$(BIN),wheels)
	@touch $@

# A directory of its own for each, as setuptools leaves what it has built in the tree.
build-wheel = rm -rf build/lib build/bdist.*; RONDO_WHEEL=$(2) $(1)/pip wheel --quiet --disable-pip-version-check --no-deps \
	--no-build-isolation --wheel-dir build/dist .

# auditwheel says in the tags how old a system may be: the machine code needs nothing of it but libc.
wheels: $(VENV)/.ready-wheels $(foreach version,$(WHEEL_VERSIONS),build/wheels/$(version)/.ready) ## into build/dist: pure, and with the compiled modules for CPython 3.11 to 3.13 where here
	@rm -rf build/dist
	@$(call build-wheel,$(BIN),pure)
	@$(foreach version,$(WHEEL_VERSIONS),$(call build-wheel,build/wheels/$(version)/bin,compiled);)
	@for wheel in build/dist/*-linux_*.whl; do [ -e "$$wheel" ] || continue; \
		PATH="$(abspath $(BIN)):$$PATH" auditwheel repair --wheel-dir build/dist "$$wheel" >/dev/null 2>build/auditwheel.log \
			|| { cat build/auditwheel.log >&2; exit 1; }; rm -f "$$wheel"; done
	@$(BIN)/python packaging/some_constraints.py build/dev.txt rondo > build/runtime.txt
	@$(BIN)/python packaging/some_constraints.py build/dev.txt 'rondo[web]' > build/image.txt
	@ls -l build/dist | awk 'NR > 1 { print $$5, "bytes  build/dist/" $$NF }'

newcomer: wheels ## the tutorial, typed block by block, in a fresh virtual environment with a wheel (needs curl)
	@$(BIN)/pytest -q --timeout 1800 -o faulthandler_timeout=0 tests/packages/test_newcomer.py

compose: wheels ## docker-compose.yml with a real Docker: up, kill, split, heal, upgrade (root, debootstrap, Docker)
	@mkdir -p build/compose
	@$(BIN)/pytest -q -s --timeout 3600 -o faulthandler_timeout=0 tests/packages/test_compose.py

$(VENV)/.ready-docs: $(VENV)/.ready
	@$(call install-part,$(BIN),docs)
	@touch $@

# Not --quiet, which hides warnings from --strict, too. Then: a page that would fetch anything when it is read is an error.
docs: $(VENV)/.ready-docs ## the documentation as a site, into build/site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file packaging/site/mkdocs.yml > build/docs.log 2>&1 \
		|| { grep -v '^INFO' build/docs.log >&2; exit 1; }
	@! grep --recursive --include='*.html' -E '<(script|link rel="(stylesheet|icon|preconnect)"|img|iframe)[^>]*(src|href)="(https?:)?//' build/site
	@echo "build/site/index.html; to search in it: python3 -m http.server --directory build/site"

test-wheels: wheels ## what the wheels hold; and a node of each compiled one, in a fresh virtual environment
	@$(BIN)/pytest -q tests/packages/test_wheels.py

deb: wheels man ## into build/dist: the Debian package, for this machine's Debian, by debhelper (and python3-venv)
	@packaging/deb $(BIN)/pip build/dist/rondo-*-cp3$$(/usr/bin/python3 -c 'import sys; print(sys.version_info.minor)')-*.whl \
		build/runtime.txt build/man build/dist
	@ls -l build/dist/*.deb | awk '{ print $$5, "bytes ", $$NF }'

test-deb: deb ## the Debian package, by lintian, and installed, started and removed in a fresh Debian (root, debootstrap)
	@$(BIN)/pytest -q --timeout 1800 tests/packages/test_deb.py

man: setup ## man pages into build/man, completion for bash, fish and zsh into build/completion
	@$(BIN)/python -m rondo.cli.manual build/man
	@mkdir -p build/completion
	@for shell in bash fish zsh; do $(BIN)/rondo completion $$shell > build/completion/rondo.$$shell; done

clean: ## remove what was made here
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
