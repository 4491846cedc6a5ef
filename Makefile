.DEFAULT_GOAL := help
.PHONY: help run dev test test-browser test-typescript test-better-auth fuzz mutants storm attacks capacity locks bench dashboard lint format migrate lock sbom audit generated clean

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)
# --strict: a package that the advisories do not know is a failure. --disable-pip: the lists are complete.
AUDIT = $(BIN)/python -m pip_audit --progress-spinner off --strict --disable-pip $(ARGS)
MIGRATIONS := $(wildcard migrations/*.sql)
# Migrations that cannot run in a transaction, with their rollbacks.
BY_THEMSELVES := $(foreach file,$(shell grep -l '^-- transactional: false' migrations/*.sql),$(file) $(file:.sql=.rollback.sql))
# Excluded: layout rules, because tables are aligned in columns and landed migrations are never edited.
LANDED := --exclude-rules layout.select_targets,layout.spacing,layout.long_lines
# A rollback drops and recreates tables on purpose, and never runs beside running code.
UNDO := --exclude ban-drop-table,ban-drop-column,ban-drop-constraint,adding-not-nullable-field,renaming-object \
	--exclude constraint-missing-not-valid,disallowed-unique-constraint,ban-drop-domain,changing-column-type

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## /  make \1  /p' $(MAKEFILE_LIST)

run: $(VENV)/run-ready ## Serve on http://127.0.0.1:8000, with an embedded PostgreSQL unless DATABASE_URL is set
	@$(BIN)/python -m service

dev: $(VENV)/run-ready ## Serve, and restart when a .py or .sql file changes
	@$(BIN)/python -m service serve --reload

test: $(VENV)/ready ## Run the tests (DATABASE_URL=... for another server than the embedded one; ARGS=... for pytest)
	@$(BIN)/python -m pytest $(if $(DATABASE_URL),,--numprocesses auto --dist loadfile --no-loadscope-reorder) $(ARGS)

test-browser: $(VENV)/ready ## Test the reference page and a client of each contract in Chromium (skipped if it is not installed)
	@$(BIN)/python -m pytest tests/browser $(ARGS)

test-typescript: $(VENV)/ready ## Test a TypeScript client generated from the OpenAPI document (skipped without node and npm)
	@$(BIN)/python -m pytest tests/typescript $(ARGS)

test-better-auth: $(VENV)/ready ## Test the tokens and keys of a real Better Auth server (skipped without node and npm)
	@$(BIN)/python -m pytest tests/better_auth $(ARGS)

fuzz: $(VENV)/ready ## Send generated requests for SECONDS=60 and check the answers against the OpenAPI document
	@$(BIN)/python -m tests.fuzz $(or $(SECONDS),60)

mutants: $(VENV)/ready ## Plant N=20 single faults in FILES='service/auth/*.py' and list those that no test notices (SEED=1 repeats; Linux)
	@$(BIN)/python -m tests.mutants $(if $(SEED),--seed $(SEED)) --count $(or $(N),20) \
		$(or $(foreach file,$(FILES),'$(file)'),'service/*.py') $(ARGS)

storm: $(VENV)/ready ## Measure the latency of one user while 50 connections log in without a pause
	@$(BIN)/python -m tests.storm $(or $(SECONDS),10)

attacks: $(VENV)/ready ## Measure how a misbehaving client affects others, and compare with the limits (ARGS=pipelining)
	@$(BIN)/python -m tests.attacks $(ARGS)

capacity: $(VENV)/ready ## Measure the processor time of a request and the bytes of a row (Linux)
	@$(BIN)/python -m tests.capacity

locks: $(VENV)/ready ## Measure how long each migration makes readers and writers wait, and write it into migrations/README.md
	@$(BIN)/python -m tests.locks

bench: $(VENV)/ready ## Compare this service with its peers in an hour (SHORT=1: in two minutes, writes no files; Linux)
	@$(BIN)/python -m tests.bench $(if $(SHORT),--short) $(ARGS)

dashboard: $(VENV)/ready ## Draw docs/dashboard.svg in four minutes: the dashboard of a service under load (needs Prometheus)
	@$(BIN)/python -m tests.dashboard

lint: $(VENV)/ready ## ruff, a strict type check, the layers, the Dockerfile, the SQL, and generated files that are out of date
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports --no-logo
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/python -m service sql check --no-server
	@$(BIN)/python -m tests.generated --check
	@$(BIN)/sqlfluff lint sql
	@$(BIN)/sqlfluff lint $(LANDED) migrations
	@$(BIN)/squawk --pg-version 15 --assume-in-transaction $(filter-out %.rollback.sql $(BY_THEMSELVES),$(MIGRATIONS))
	@$(BIN)/squawk --pg-version 15 --assume-in-transaction $(UNDO) $(filter-out $(BY_THEMSELVES),$(filter %.rollback.sql,$(MIGRATIONS)))
	@$(BIN)/squawk --pg-version 15 $(BY_THEMSELVES)

format: $(VENV)/ready ## Format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

migrate: $(VENV)/run-ready ## Apply the pending migrations
	@$(BIN)/python -m service migrate

lock: $(VENV)/ready ## Compile the requirements files from pyproject.toml with hashes, and those of the benchmark's peers
	@$(COMPILE) pyproject.toml --output-file requirements.txt
	@$(COMPILE) pyproject.toml --extra otel --constraint requirements.txt --output-file requirements-otel.txt
	@$(COMPILE) pyproject.toml --group run --constraint requirements.txt --output-file requirements-run.txt
	@$(COMPILE) pyproject.toml --group dev --extra otel --extra review --constraint requirements-run.txt \
		--constraint requirements-otel.txt --output-file requirements-dev.txt
	@$(COMPILE) tests/bench/apps/requirements.in --output-file tests/bench/apps/requirements.txt

sbom: $(VENV)/ready ## Write the bill of materials of the image into SBOM=sbom.cdx.json (LIST=requirements-otel.txt: with OpenTelemetry)
	@$(BIN)/python -m tests.sbom $(or $(LIST),requirements.txt) $(or $(SBOM),sbom.cdx.json)

# The first run has to find the holes of an old Jinja2. Without that, advisories that cannot be read look like none.
audit: $(VENV)/ready ## Compare the image's packages with published advisories (ARGS=... for pip-audit)
	@said=$$(echo 'jinja2==2.4.1' | $(AUDIT) --no-deps --requirement /dev/stdin 2>&1); echo "$$said" | grep -qE '(PYSEC|GHSA|CVE)-' \
		|| { echo "$$said" | tail -n 1; echo "Nothing was audited: the advisories cannot be read"; exit 1; }
	@$(AUDIT) --require-hashes --requirement requirements.txt --requirement requirements-otel.txt

generated: $(VENV)/ready ## Write what is made from the code: plans and buffers of the statements, their index, todo.http, the dashboard, and migrations/schema.txt
	@$(BIN)/python -m tests.generated

clean: ## Remove the virtual environment and the caches; the data stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

# Recreates a missing or unusable environment, else adds to the existing one. The lists are complete.
define install
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) \
		|| { echo "$(PYTHON) cannot make a virtual environment: install its venv package"; exit 1; }
	@echo "Installing $(2) into $(VENV), once ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --no-compile -r $(1)
	@touch $@
endef

$(VENV)/run-ready: requirements-run.txt $(BIN)/python
	$(call install,$<,the service and its PostgreSQL)

$(VENV)/ready: requirements-dev.txt $(VENV)/run-ready
	$(call install,$<,the tests and the linters)

# No recipe: if the file is missing, or a dangling link to a removed Python, its dependents are rebuilt.
$(BIN)/python:
