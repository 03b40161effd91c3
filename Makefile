# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
READY := $(VENV)/.ready
COLLECTION := ansible_collections/lastgood/rollback
UNIT := tests/model tests/unit
# They make real accounts: an attack of an account on itself would show nothing.
ATTACKS := $(shell test "$$(id -u)" -ne 0 || echo tests/attacks)
DEMO := $(VENV)/bin/python demo/demo.py
LAB := $(VENV)/bin/python lab/lab.py
# Processes that take file after file in the order given here: the long ones first, the short ones last. One more than there
# are cores, since each waits now and then: for a service, a timer, another process.
PYTEST := pytest --numprocesses=$(shell expr "$$(nproc)" + 1) --dist=loadfile --no-loadscope-reorder --durations=20
# Left out, but by test-all: what is shown elsewhere, and costs minutes.
FEWER := -m "not at_length"
# Not what nobody gets but with the repository, nor what lint looks at with the same programs, or ruff.
SANITY := --exclude demo/ --exclude lab/ --exclude molecule/ --exclude tests/ --skip-test changelog --skip-test pep8 --skip-test yamllint
SANITY_ALL := SANITY= SANITY_PYTHONS=all
# Tools are found in the environment first, and nothing of them is configured outside of this clone.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Make the tool environment .venv (needs Python 3.11 or newer, and git)

$(READY): requirements/setup.txt requirements/development.txt
	@requirements/install.sh $(VENV)
	@touch $@

.PHONY: lock
lock: $(READY) ## Refresh the lock files requirements/*.txt from requirements/*.in
	@for name in setup development; do \
	    uv pip compile --quiet --no-config --upgrade --universal --python-version 3.11 --generate-hashes \
	        --no-header --no-annotate --output-file requirements/$$name.txt requirements/$$name.in; \
	done

.PHONY: demo demo-up demo-break demo-rollback demo-undo demo-down
demo: $(READY) ## Show it all: six projects, a restore point, a disaster, the rollback, the proof
	@$(DEMO) all

demo-up: $(READY) ## Start the demo's stack and capture a restore point
	@$(DEMO) up
	@$(DEMO) capture

demo-break: $(READY) ## Break the demo's stack
	@$(DEMO) break

demo-rollback: $(READY) ## Roll the demo's stack back to its restore point
	@$(DEMO) rollback

demo-undo: $(READY) ## Try a restore point that fails its checks: everything stays as it was (ends with an error)
	@$(DEMO) undo

demo-down: $(READY) ## Stop the demo's stack and remove it
	@$(DEMO) down

.PHONY: lab lab-down lab-test
lab: $(READY) ## Start real hosts in containers and deploy the demo's projects (needs root; LAB_HOSTS=2 for fewer)
	@$(LAB) up

lab-down: $(READY) ## End the lab's hosts and remove them; their image stays for the next time
	@$(LAB) down

lab-test: lab ## Run the tests on the lab's hosts: over SSH, with power cuts and cut cables
	@pytest tests/lab

.PHONY: molecule
molecule: $(READY) ## Run molecule's scenarios on the lab's hosts (needs root; SCENARIO=stage for one)
	@molecule test $(if $(SCENARIO),--scenario-name $(SCENARIO),--all --report)

.PHONY: faults faults-quick
faults-quick: $(READY) ## Try each fault once on lab hosts, which it starts and ends by itself (needs root)
	@pytest tests/faults

faults: $(READY) ## Run the fault matrix on lab hosts; takes hours, goes on where it was ended (FAULTS="--minutes 60")
	@PYTHONPATH=collections:tests python -m faults.matrix $(FAULTS)

.PHONY: programs
programs: ## Install what the tests drive, where it is missing: PostgreSQL's server and Chromium
	@tests/install_postgresql.sh
	@tests/install_chromium.sh

.PHONY: test
test: $(READY) programs ## Run lint, the sanity tests, and all other tests
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=line lint sanity
	@$(MAKE) --no-print-directory --jobs=2 suite faults-possible
	@test -n "$(ATTACKS)" || echo "The attacks were left out: they make real accounts, and need root (sudo make attacks)."

# Hosts that start, and are cut off, leave a processor idle most of the time: so test does both of these at once.
.PHONY: suite faults-possible
suite: $(READY) programs ## Run what pytest runs of make test
	@$(PYTEST) $(FEWER) tests/integration $(ATTACKS) $(UNIT)

faults-possible: $(READY) ## Try the faults of make test that only a real host can have, where hosts can be started
	@mkdir -p .cache
	@status=0; PYTHONPATH=collections:tests python -m faults.where_possible > .cache/faults-possible.log 2>&1 || status=$$?; \
	    cat .cache/faults-possible.log; exit $$status

.PHONY: test-all
test-all: ## Run the same without leaving anything out: every Python, every kill, what is shown elsewhere as well
	@$(MAKE) --no-print-directory test FEWER= LASTGOOD_ALL_KILLS=1 $(SANITY_ALL)

.PHONY: lint
lint: $(READY) ## Check format, style, types, documentation and changelog
	ruff check
	ruff format --check
	mypy collections/$(COLLECTION)/plugins/module_utils
	yamllint --strict .
	ansible-lint --strict
	antsibull-docs lint-collection-docs --plugin-docs --disallow-unknown-collection-refs --validate-collection-refs self .
	antsibull-changelog lint
	shellcheck $$(git ls-files '*.sh' .ci/run)

.PHONY: unit
unit: $(READY) ## Run the tests that need no server: units, the protocol's model, the repository's shape
	@pytest $(UNIT)

.PHONY: histories
histories: $(READY) ## Roll 500 random histories back and undo it, byte for byte (the suite tries a part of them)
	@CODE_HISTORIES=500 pytest tests/integration/test_code_histories.py

.PHONY: sanity sanity-all
sanity: $(READY) ## Run ansible-test sanity on the oldest and the newest supported Python (or SANITY_PYTHONS="3.11 3.12")
	@python tests/sanity.py $(SANITY)

sanity-all: ## Run ansible-test sanity on every supported Python, on demo, lab and tests as well
	@$(MAKE) --no-print-directory sanity $(SANITY_ALL)

.PHONY: integration
integration: $(READY) programs ## Run the tests against real PostgreSQL, git, pip and supervisor
	@$(PYTEST) $(FEWER) tests/integration

.PHONY: attacks
attacks: $(READY) programs ## Attack as people who are not trusted: owners of checkouts, databases, … (needs root)
	@$(PYTEST) $(FEWER) tests/attacks

.PHONY: operators
operators: $(READY) programs ## Let two operators start a rollback at the same moment, twenty times
	@LASTGOOD_OPERATORS=20 pytest tests/integration/test_two_operators.py

.PHONY: proof
proof: $(READY) programs ## Prove the rollback at length: 200 flipped bits, kill -9 at each step, 16 clients that write, every setting
	@LASTGOOD_FLIPS=200 LASTGOOD_ALL_KILLS=1 LASTGOOD_ALL_SETTINGS=1 pytest tests/integration/test_database_proof.py \
	    tests/integration/test_database_crash.py tests/integration/test_schema_crash.py tests/integration/test_tables_crash.py \
	    tests/integration/test_schema_migrations_crash.py tests/integration/test_hostile_settings.py \
	    tests/integration/test_engine_crash.py

.PHONY: foreign-databases
foreign-databases: $(READY) programs ## Roll back databases made by others: pgbench, PostgreSQL's regression database, 500 tables with 5,000 keys
	@tests/install_headers.sh
	@pytest -s tests/foreign/test_foreign_databases.py

.PHONY: foreign-application
foreign-application: $(READY) programs ## Roll back Pulp, from PyPI, after an upgrade by its own migrations: back, undone, its schema alone, recovered
	@pytest tests/foreign/test_foreign_application.py

.PHONY: benchmark-database
benchmark-database: $(READY) programs ## Measure a database's rollback: what clients see, its cost against a bare pg_restore, what plans predict
	@pytest -s tests/benchmarks/test_database_benchmark.py tests/benchmarks/test_prediction_benchmark.py

.PHONY: benchmark-reset
benchmark-reset: $(READY) ## Measure the switch of a checkout of 50,000 files against a plain git reset
	@pytest -s tests/benchmarks/test_reset_benchmark.py

.PHONY: benchmark-hosts
benchmark-hosts: $(READY) ## Measure a rollback of 4, 8, 16 and 32 lab hosts, which it starts and ends by itself (needs root)
	@pytest -s tests/benchmarks/test_hosts_benchmark.py

.PHONY: docs
docs: $(READY) ## Generate the documents that are made from code
	@python tests/generate_docs.py

.PHONY: build
build: $(READY) ## Build the collection's artefact into dist/
	@ansible-galaxy collection build --force --output-path dist

.PHONY: clean
clean: ## Stop the demo and the lab, and remove everything that was made here
	@if [ -d .demo ] && [ -x $(VENV)/bin/python ]; then $(DEMO) down; fi
	@if [ -d .cache/lab ] && [ -x $(VENV)/bin/python ]; then $(LAB) clean; fi
	@rm -rf $(VENV) .cache .demo .ansible .hypothesis dist
	@find . -name __pycache__ -prune -exec rm -rf {} +
