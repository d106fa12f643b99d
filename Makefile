# Everything needs only Go; tests against the kernel and the demo also need root.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo v0.1.0-dev)
LDFLAGS := -s -w -X github.com/slopebpf/slope/cli.Version=$(VERSION)

.PHONY: all lint build demo test check bench fuzz soak vmtest generate clean

all: build

build: ## the static binary bin/slope
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/slope .

bin/checkout: $(wildcard examples/checkout/*.go)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/checkout ./examples/checkout

demo: build bin/checkout ## run the checkout service under load and measure it
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/demo ./examples/checkout/demo
	bin/demo bin/slope bin/checkout examples/checkout/checkout.slo

test: ## every test; as root also those against the kernel
	$(GO) test ./...

lint: ## golangci-lint with .golangci.yml, for those who have it
	golangci-lint run

check: ## what must be clean before a commit
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -run 'TestImports|TestArchitecture' .
	$(GO) mod tidy -diff
	$(GO) generate ./...
	git diff --exit-code -- docs

bench: build ## instructions, ns per event, start-up and memory beside clang and bpftrace
	bpf/bench/install.sh
	$(GO) run ./bpf/bench

FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg 2>/dev/null | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; done

soak: ## the long proofs
	SLOPE_SOAK=1 $(GO) test -timeout 6h ./...
	$(MAKE) fuzz FUZZTIME=5m

vmtest: ## the kernel tests on other kernels, in QEMU
	bpf/vmtest/run.sh

generate:
	$(GO) generate ./...

clean:
	rm -rf bin
