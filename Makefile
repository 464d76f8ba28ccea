# make demo   see it work: three builders, one signature, one refusal
# make test   everything that must hold, with real parts; MODULE=FILE takes another PKCS#11 module than SoftHSM
# make build  bin/quorate (static) and bin/quorate-signer
# make bench  speeds, as ratios measured in one run
# make lint   gofmt, vet, staticcheck, tidy, build without cgo

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0-dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
# The toolchain on the machine is used as it is; none is fetched.
export GOTOOLCHAIN = local

# Where the tests look for the module of their tokens.
ifdef MODULE
export SOFTHSM2_MODULE = $(MODULE)
endif

.PHONY: demo test build bench lint clean

demo:
	@.ci/install demo
	@$(MAKE) --no-print-directory build
	$(GO) run ./fixtures/demo -bin bin -out demo-out $(if $(KEEP),-keep)

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/quorate ./cmd/quorate
	CGO_ENABLED=1 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/quorate-signer ./cmd/quorate-signer

test:
	@.ci/install test
	$(GO) test $(if $(RACE),-race) -timeout 20m ./...

bench:
	@.ci/install test
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 60m ./...

lint:
	@fmt=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$fmt" ] || { echo "not gofmt-ed:"; echo "$$fmt"; exit 1; }
	$(GO) vet ./...
	$(GO) mod tidy -diff
	$(GO) mod verify
	$(GO) -C .ci/tools build -o $(CURDIR)/bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./...
	CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/quorate

clean:
	rm -rf bin demo-out
