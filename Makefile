# Every check that CI runs is a target here.
GO ?= go
RACE ?=
# What others wrote and what takes long when it is watched: SQLite, pictures, compression.
UNWATCHED := modernc.org golang.org/x/image image compress
RACEFLAGS := -race $(UNWATCHED:%=-gcflags=%/...=-race=false)
TESTFLAGS ?=
FUZZ ?= 20000x
BENCH ?= .
COUNT ?= 5
BENCHTIME ?= 1s
# Tests that need a tool which is missing are skipped, or fail if it is named
# here, with commas: MEDIAGATE_TEST_REQUIRE=curl,synapse,nginx,postgres,redis,systemd,strace,mount
export MEDIAGATE_TEST_REQUIRE ?=

# internal/synapsetest looks for this release in this place.
SYNAPSE_VERSION := 1.160.0
SYNAPSE := .cache/synapse-$(SYNAPSE_VERSION)

.PHONY: build test peers bench bench-record bench-scale fuzz lint tidy generate clean

build: ## the static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o mediagate .

test: ## the whole suite; RACE=1 with the race detector
	$(GO) test -timeout 30m $(if $(RACE),$(RACEFLAGS)) $(TESTFLAGS) ./...

peers: $(SYNAPSE)/complete ## the real Synapse for the tests, in .cache

# What an installation that was broken off has left is not trusted.
$(SYNAPSE)/complete:
	rm -rf $(SYNAPSE)
	python3 -m venv $(SYNAPSE)
	$(SYNAPSE)/bin/python -m pip install --quiet matrix-synapse==$(SYNAPSE_VERSION)
	$(SYNAPSE)/bin/python -c 'import synapse.app.homeserver'
	touch $@

bench: ## the benchmarks that BENCH names, COUNT times, beside published figures and our targets
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) -count $(COUNT) -timeout 2h ./... | tee bench.out
	$(GO) run ./internal/benchtable $(if $(RECORD),-record $(RECORD)) < bench.out

bench-record: ## bench, and the table in a file of the day and the processor, to be committed
	$(MAKE) bench RECORD=internal/benchtable/results

bench-scale: ## what a deployment is sized by, beside our targets; SCALE has flags of internal/scalebench
	$(GO) run ./internal/scalebench $(SCALE) | tee scale.out
	$(GO) run ./internal/benchtable $(if $(RECORD),-record $(RECORD) -of scale) < scale.out

# Built once for a package: go test would link it again for each of its targets.
fuzz: ## every fuzz target, FUZZ inputs each
	@set -e; built=$$(mktemp); trap 'rm -f "$$built"' EXIT; cache=$$($(GO) env GOCACHE)/fuzz; \
	for package in $$($(GO) list ./...); do \
		listed=$$($(GO) test -list '^Fuzz' $$package); \
		targets=$$(echo "$$listed" | grep '^Fuzz' || true); \
		[ -n "$$targets" ] || continue; \
		$(GO) test -c -fuzz . -o "$$built" $$package; \
		cd $$($(GO) list -f '{{.Dir}}' $$package); \
		for target in $$targets; do \
			echo "$$package $$target"; \
			"$$built" -test.paniconexit0 -test.run '^$$' -test.fuzz "^$$target$$" -test.fuzztime $(FUZZ) -test.fuzzcachedir "$$cache/$$package"; \
		done; \
		cd - >/dev/null; \
	done

lint: ## formatting, vet and the linters of .golangci.yml
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod golangci-lint run ./...

tidy: ## go.mod and go.sum as they must be
	$(GO) mod tidy

generate: ## the configuration table of the README, the assembly of package pdq
	$(GO) -C tools run ./kernels -out ../pdq/kernels_amd64.s -stubs ../pdq/kernels_amd64.go -pkg pdq
	$(GO) test -run TestREADMEHasTheConfiguration . -update

clean:
	rm -f mediagate bench.out scale.out
