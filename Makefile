# The targets are described by their own `##` comments; `make` prints them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO ?= go
LINTER ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.6.0

# Everything but the soak, which has its own line: it needs the machine for itself,
# and shows its seeds and verdicts.
PACKAGES = $$($(GO) list ./... | grep -v /internal/soak$$)
# Where goroutines share memory. Brokers are other processes, or tested elsewhere; and
# Benthos's own suite has a race: a test of it reads a map beside its writer.
CONCURRENT = ./checkpoint/... ./input/... ./output/... ./internal/...

# make soak: rounds of each harness, and the seed of an earlier run to repeat it.
ROUNDS ?= 200
SEED ?=
# make test: how long each harness of the soak runs.
BUDGET ?= 20s

.PHONY: help
help: ## Say what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  %-8s %s\n", $$1, $$2 }'

.PHONY: run
run: build ## Run a checkpointed pipeline at once, with a broker and records to move (KAFKA_BROKERS=host:port for a Kafka of yours)
	@exec bin/tidemark demo

.PHONY: build
build: ## Build bin/tidemark
	@$(GO) build -o bin/tidemark ./cmd/tidemark

.PHONY: test
test: brokers ## Run all tests, real brokers included, and each soak harness for BUDGET=20s
	$(GO) test -timeout 20m $(PACKAGES)
	cd bench && $(GO) test -timeout 5m .
	TIDEMARK_SOAK_BUDGET=$(BUDGET) TIDEMARK_SEED=$(SEED) $(GO) test -count=1 -timeout 20m -v ./internal/soak

.PHONY: soak
soak: brokers ## Run ROUNDS=200 of each harness, SEED=… to repeat a run; the verdict goes to bench/results
	TIDEMARK_DAMAGE_SAMPLES=$$((5 * $(ROUNDS))) TIDEMARK_SEED=$(SEED) $(GO) test -count=1 -v -run '^TestDamageIsNamedOrHarmless$$' ./internal/store
	TIDEMARK_SOAK_ROUNDS=$(ROUNDS) TIDEMARK_SEED=$(SEED) TIDEMARK_SOAK_RESULTS=$(CURDIR)/bench/results \
		$(GO) test -count=1 -timeout 0 -v ./internal/soak
	TIDEMARK_SOAK_ROUNDS=$(ROUNDS) TIDEMARK_SEED=$(SEED) TIDEMARK_SOAK_RESULTS=$(CURDIR)/bench/results \
		$(GO) test -count=1 -timeout 0 -v -run '^TestExactlyOnceRounds$$' ./internal/behaviour

.PHONY: race
race: brokers ## Run the tests of the concurrent packages under the race detector
	$(GO) test -race -timeout 60m -skip '^TestBenthosIntegrationSuite$$' $$($(GO) list $(CONCURRENT) | grep -v /internal/soak$$)

.PHONY: lint
lint: ## Run go vet and golangci-lint
	$(GO) vet ./...
	$(LINTER) run ./...
	cd bench && $(GO) vet . && $(LINTER) run .

.PHONY: docs
docs: ## Render docs/reference from the components' specifications
	$(GO) run ./cmd/tidemark/docgen

.PHONY: bench
bench: ## Compare with Redpanda Connect and a raw copy loop; the table goes to bench/results
	cd bench && $(GO) run . $(ARGS)

.PHONY: check
check: lint test race ## Do what must be done before a merge: lint, test, race, docs that are up to date
	$(GO) run ./cmd/tidemark/docgen -check

# Tests skip what they need a real broker for, unless CI=true; nobody should have
# to find that out from a green run.
.PHONY: brokers
brokers:
	@for tool in java mvn; do command -v $$tool >/dev/null || \
		echo "WARNING: no $$tool on the PATH: tests against real Kafka are skipped, or fail with CI=true" >&2; done
	@for tool in krb5kdc kadmin.local kinit; do PATH=$$PATH:/usr/sbin command -v $$tool >/dev/null || \
		echo "WARNING: no $$tool on the PATH: tests with Kerberos and against a secure broker are skipped, or fail with CI=true" >&2; done
