# Everything a person needs is here; `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help setup build image tarball demo test soak bench lint format docs clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing (Debian and npm packages)
	@scripts/setup.sh

build: setup ## compile the eBPF objects, the native parts and the apps
	@node scripts/build.mjs

image: build ## the OCI image of all programs, and what is in it (SBOM), in build/image
	@scripts/setup.sh ca-certificates
	@node scripts/image.mjs

tarball: build ## the programs with systemd units and an installer, for machines without containers, in build/image
	@node scripts/image.mjs --tarball

demo: build ## bring up a two-node lab, show the product, check it, clean up (KEEP=1 leaves it running)
	@node dist/demo.mjs $(if $(KEEP),--keep)

test: build ## lint, types, unit, packet tables, integration
	@scripts/setup.sh chromium containerd runc busybox-static ca-certificates
	@scripts/fetch-tool.sh prometheus
	@node scripts/test.mjs

soak: build ## restarts, upgrades, downgrades under traffic for MINUTES (30) with 10,000 connections; prints trends
	@AXON_SOAK_MINUTES=$(or $(MINUTES),30) npx vitest run --project root test/lifecycle.test.ts \
		-t "$(or $(ROUTING),native).*killed, restarted"

bench: build ## benchmarks against peers, as ratios; JSON in build/bench
	@scripts/setup.sh iptables nftables ipset chromium
	@node scripts/bench.mjs

lint: setup ## style, types and layers
	@npm run --silent lint && npm run --silent types

format: setup ## format the sources
	@npm run --silent format

docs: setup ## write docs/reference, dashboards and alerting rules from the sources
	@node scripts/gen-docs.mjs
	@node scripts/gen-deploy.mjs

clean: ## remove what was built
	@rm -rf build dist bin
