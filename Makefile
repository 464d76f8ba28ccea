# make demo   see it work: three builders, one signature, one refusal
# make test   everything that must hold, with real parts; MODULE=FILE takes another PKCS#11 module than SoftHSM
# make build  bin/quorate (static) and bin/quorate-signer
# make bench  speeds, as ratios measured in one run
# make lint   gofmt, vet, staticcheck, tidy, build without cgo, builds for other systems
# make install      what was built, with units, manual pages and completions, under DESTDIR and PREFIX
# make reproducible builds twice, in two places, and compares byte for byte

GO      ?= go
VERSION ?= $(shell .ci/version)
# Not LDFLAGS, which packagers set for the C linker. Without the repository's state,
# because a checkout and an archive of the same source must give the same bytes.
GO_BUILD = $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
# The toolchain on the machine is used as it is; none is fetched.
export GOTOOLCHAIN = local

# Where the tests look for the module of their tokens.
ifdef MODULE
export SOFTHSM2_MODULE = $(MODULE)
endif

# Where the programs are built, and from where they are installed.
BIN          ?= bin
PREFIX       ?= /usr/local
BINDIR       ?= $(PREFIX)/bin
MANDIR       ?= $(PREFIX)/share/man
DOCDIR       ?= $(PREFIX)/share/doc/quorate
UNITDIR      ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR  ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR  ?= $(PREFIX)/lib/tmpfiles.d
BASHCOMPDIR  ?= $(PREFIX)/share/bash-completion/completions

.PHONY: demo test build install reproducible bench lint clean

demo:
	@.ci/install demo
	@$(MAKE) --no-print-directory build
	$(GO) run ./fixtures/demo -bin $(BIN) -out demo-out $(if $(KEEP),-keep)

build:
	CGO_ENABLED=0 $(GO_BUILD) -o $(BIN)/quorate ./cmd/quorate
	CGO_ENABLED=1 $(GO_BUILD) -o $(BIN)/quorate-signer ./cmd/quorate-signer

# It builds nothing: who installs as root need not have root run a compiler.
install:
	@for program in $(BIN)/quorate $(BIN)/quorate-signer; do \
		[ -x $$program ] || { echo "install: $$program is missing; make build makes it" >&2; exit 1; }; \
	done
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(MANDIR)/man1' '$(DESTDIR)$(DOCDIR)' '$(DESTDIR)$(UNITDIR)' \
		'$(DESTDIR)$(SYSUSERSDIR)' '$(DESTDIR)$(TMPFILESDIR)' '$(DESTDIR)$(BASHCOMPDIR)'
	install -m 755 $(BIN)/quorate $(BIN)/quorate-signer '$(DESTDIR)$(BINDIR)'
	install -m 644 docs/man/quorate.1 docs/man/quorate-signer.1 '$(DESTDIR)$(MANDIR)/man1'
	install -m 644 README.md docs/*.md docs/openapi.yaml '$(DESTDIR)$(DOCDIR)'
	install -m 644 docs/systemd/sysusers.conf '$(DESTDIR)$(SYSUSERSDIR)/quorate.conf'
	install -m 644 docs/systemd/tmpfiles.conf '$(DESTDIR)$(TMPFILESDIR)/quorate.conf'
	install -m 644 docs/completions/quorate docs/completions/quorate-signer '$(DESTDIR)$(BASHCOMPDIR)'
	@for unit in docs/systemd/*.service; do \
		to='$(DESTDIR)$(UNITDIR)'/$${unit##*/}; echo "install $$to"; \
		sed 's|/usr/bin/|$(BINDIR)/|' "$$unit" >"$$to" && chmod 644 "$$to" || exit 1; \
	done

reproducible:
	.ci/reproducible

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
	@for to in linux/386 freebsd/amd64; do echo "build for $$to"; \
		CGO_ENABLED=0 GOOS=$${to%/*} GOARCH=$${to#*/} $(GO) build -o /dev/null ./cmd/quorate || exit 1; done

clean:
	rm -rf bin demo-out
