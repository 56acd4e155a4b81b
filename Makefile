# labctl: everything that is installed here lies below .labctl (see `make clean-all`); runs stay in runs/.
VENV := .labctl/venv
DEV := .labctl/dev
BOOTSTRAP := ansible/bootstrap.sh
SOURCES := pyproject.toml labctl/__init__.py ansible/locks/uv.txt ansible/locks/build.txt $(BOOTSTRAP)
HOST ?= local
LAB ?= offline

export PYTHON
# Matplotlib keeps its list of fonts below .labctl too, not in the home directory; bootstrap.sh makes the list.
export MPLCONFIGDIR := $(CURDIR)/.labctl/cache/matplotlib

.PHONY: help demo test test-all lint types unit integration session-engine session-ansible acceptance bench readme lock clean clean-all
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.stamp ## provision this machine and run the lab `offline` with the real vLLM, up to the report
	@$(VENV)/bin/labctl provision $(HOST)
	@$(VENV)/bin/labctl run $(LAB) --host $(HOST)

test: lint types unit integration ## every check and test

test-all: test ## and the slow ones
	$(DEV)/bin/python -m pytest -m slow tests

lint: $(DEV)/.stamp ## style of Python, imports, Ansible, shell and Dockerfiles
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/lint-imports
	cd ansible && PATH="$(CURDIR)/$(DEV)/bin:$$PATH" ANSIBLE_HOME="$(CURDIR)/.labctl/cache/ansible" ansible-lint --offline -q
	$(DEV)/bin/shellcheck .ci/run $(BOOTSTRAP) labctl/runner/probe.sh labctl/bundle/install-controller.sh \
		tests/data/runs/h100.sh
	$(DEV)/bin/python -m tests.readme --check
	$(if $(wildcard images/Dockerfile),$(DEV)/bin/hadolint images/Dockerfile)

types: $(DEV)/.stamp ## mypy --strict
	$(DEV)/bin/mypy

unit: $(DEV)/.stamp ## tests without network, processes or clock
	$(DEV)/bin/python -m pytest tests/unit

integration: $(DEV)/.stamp ## tests with the real Ansible and the real vLLM, two sessions at once
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target session-engine session-ansible

# What starts the real vLLM; the other session leaves these out.
ENGINE_TESTS := tests/e2e $(addprefix tests/hosts/test_,airgap.py engine.py span_engine.py)

session-engine: $(DEV)/.stamp
	$(DEV)/bin/python -m pytest -m "not slow" $(ENGINE_TESTS) --durations=25

session-ansible: $(DEV)/.stamp
	$(DEV)/bin/python -m pytest -m "not slow" tests/integration tests/molecule tests/hosts \
		$(addprefix --ignore=,$(ENGINE_TESTS)) --durations=25

# testinfra goes in by Ansible's own reading of the inventory, and by ssh with ~/.ssh/config.
acceptance: $(DEV)/.stamp ## what must hold on a provisioned host (HOST=gpu1)
	PATH="$(CURDIR)/$(DEV)/bin:$$PATH" LABCTL_HOST=$(HOST) $(DEV)/bin/python -m pytest tests/hosts/acceptance \
		--connection=ansible --ansible-inventory=inventory.ini --hosts=ansible://$(HOST)

bench: $(DEV)/.stamp $(VENV)/.stamp ## what labctl costs, in interleaved pairs (BENCH="help runs" chooses)
	$(DEV)/bin/python -m tests.benchmarks.run $(BENCH)

readme: $(DEV)/.stamp ## write the figures of both READMEs anew, from the golden runs
	$(DEV)/bin/python -m tests.readme

$(VENV)/.stamp: requirements.lock $(SOURCES)
	@$(BOOTSTRAP) $(VENV) requirements.lock
	@touch $@

$(DEV)/.stamp: tests/requirements.lock $(SOURCES)
	@$(BOOTSTRAP) $(DEV) tests/requirements.lock
	@touch $@

# Locks are made against PyPI alone: an index that holds some files of a release would put only their hashes into the
# lock. PyTorch's CPU wheel comes from PIP_FIND_LINKS. UPGRADE=--upgrade moves the pins.
UV := PIP_CONFIG_FILE=/dev/null PIP_EXTRA_INDEX_URL= UV_CACHE_DIR=.labctl/cache/uv \
	$(DEV)/bin/python ansible/roles/python_env/files/pip_to_uv.py $(DEV)/bin/uv
COMPILE := $(UV) pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links --python-version 3.11 $(UPGRADE)
UNIVERSAL := $(COMPILE) --universal --fork-strategy fewest
# CUDA locks know nothing of find-links: a CPU wheel there would count as newer (2.13.0+cpu).
CUDA_COMPILE := PIP_FIND_LINKS= $(subst pip compile,--project ansible/locks pip compile,$(UNIVERSAL))

lock: $(DEV)/.stamp ## make every lock anew from what it is made of
	$(UNIVERSAL) ansible/locks/uv.in -o ansible/locks/uv.txt
	$(UNIVERSAL) ansible/locks/build.in -o ansible/locks/build.txt
	$(UNIVERSAL) pyproject.toml -c ansible/locks/uv.txt -o requirements.lock
	$(UNIVERSAL) pyproject.toml tests/requirements.in -c requirements.lock -o tests/requirements.lock
	$(UNIVERSAL) ansible/locks/modelscope.in -o ansible/locks/modelscope.txt
	for input in ansible/locks/vllm-*-cpu.in; do \
		$(COMPILE) --python-platform x86_64-manylinux_2_28 --override "$${input%.in}.override" \
			"$$input" -o "$${input%.in}.txt" || exit 1; \
	done
	for input in ansible/locks/vllm-*-cuda.in; do \
		$(CUDA_COMPILE) $$(sed -n 's/^# \(--exclude-newer .*\)/\1/p' "$$input") \
			"$$input" -o "$${input%.in}.txt" || exit 1; \
	done
	$(DEV)/bin/python -m labctl.lock_trim ansible/locks/vllm-*-cuda.txt

clean: ## remove what tests and linters leave
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .ansible ansible/.ansible dist
	find labctl tests ansible -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean ## remove everything that was installed; runs/ stays
	rm -rf .labctl
	@echo "Removed .labctl (environments, caches, the lab of host local). Kept: runs/"
