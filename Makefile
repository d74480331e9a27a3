# make help lists what there is. README's test command is `make check`, and CI
# runs nothing else.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
LINT    := go tool -modfile=tools/go.mod golangci-lint

# Each phase says how long it took: a slow one is to be seen in the log.
phase = @begin=$$(date +%s); echo "== $@"; \
	{ $(1); }; code=$$?; \
	echo "== $@: $$(( $$(date +%s) - begin )) s, exit $$code"; exit $$code

.PHONY: build elf help check lint vet test e2e storm bench soak packages clean

build: ## one static binary, ./fugue
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o fugue .

elf: ## the shim's machine code again, after a change of its source
	sh internal/launch/elf/asm/build.sh internal/launch/elf/asm

help: ## this text
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

check: ## everything that must be green: vet, lint, tests, e2e; needs root (see .ci/run)
	@$(MAKE) --no-print-directory vet
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory e2e

# GOGC: the compiler, and what looks at all sources at once, are a fifth faster
# when they collect garbage less often.
vet: ## go vet
	$(call phase,GOGC=400 go vet ./...)

lint: ## golangci-lint, built by its own go.mod: tools/go.mod
	$(call phase,GOGC=400 $(LINT) run ./...)

# -race finds what two goroutines do to one variable; e2e has a phase of its own.
# -vet=off: vet has looked already.
test: ## unit, loop, process and command line tests, with the race detector
	$(call phase,go test -race -vet=off -timeout 15m $$(go list ./... | grep -v /e2e))

# -count=1: what these tests depend on is the machine, of which the cache knows nothing.
e2e: ## tests with a real systemd 252 and 257; none is skipped
	$(call phase,FUGUE_E2E=required go test -count=1 -vet=off -timeout 30m ./e2e/...)

# FUGUE_STORM says how long, FUGUE_STORM_SEED repeats one.
storm: ## e2e/storm for ten minutes: everything at once, no request lost
	$(call phase,FUGUE_E2E=required FUGUE_STORM=$${FUGUE_STORM:-10m} go test -count=1 -v -timeout 3h ./e2e/storm)

bench: ## benchmarks
	go test -run '^$$' -bench . -benchmem ./...

soak: ## e2e and process tests with all of their counts: hours
	FUGUE_TEST_SCALE=1 FUGUE_E2E=required go test -count=1 -timeout 12h ./...

packages: ## .deb, .rpm and tarball for amd64 and arm64, below dist
	$(call phase,VERSION=$(VERSION) packaging/build.sh)

clean: ## what was built
	rm -rf fugue dist
