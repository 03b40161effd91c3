# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
READY := $(VENV)/.ready
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
