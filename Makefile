# SPDX-License-Identifier: BSD-3-Clause
# Two commands are enough: `make demo` to see it, `make test` before you propose a change. `make help` lists the others.

PORT ?= 8001
HOST ?= 127.0.0.1
PYTHON ?= python3
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
SECONDS_EACH ?= 60
ROUNDS ?= 3
SECONDS ?= 3
SERVERS ?=
SCENARIOS ?=
QUICK ?=
export PORT HOST PYTHON

.PHONY: help demo test deps test-deps fuzz-deps release dev tsan fuzz bench bench-layer lint tidy format install clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' Makefile | while read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

demo: deps ## the example project on http://localhost:8001/, with all that it needs (PORT=, HOST=)
	@scripts/demo.sh

test: test-deps ## everything: unit tests, lint, Python, integration and browser tests
	@scripts/test.sh

deps: ## the Debian packages of a build, where they are missing
	@scripts/deps.sh build

test-deps:
	@scripts/deps.sh build test

fuzz-deps:
	@scripts/deps.sh build fuzz

release: ## the optimised binary: build/release/channelsd
	cmake --preset release
	cmake --build --preset release -j $(JOBS)

dev: ## the binary and the unit tests with AddressSanitizer and UBSan: build/dev
	cmake --preset dev
	cmake --build --preset dev -j $(JOBS)

tsan: ## the unit tests under ThreadSanitizer
	cmake --preset tsan
	cmake --build --preset tsan -j $(JOBS)
	ctest --preset tsan -j $(JOBS)

fuzz: fuzz-deps ## each fuzz target for SECONDS_EACH=60 seconds (clang)
	cmake --preset fuzz
	cmake --build --preset fuzz -j $(JOBS)
	@scripts/fuzz.sh $(SECONDS_EACH)

# Only figures of all servers in all scenarios go into the document.
bench_mode = $(if $(QUICK),--quick,$(if $(SERVERS)$(SCENARIOS),,--write))

bench: release ## the figures of docs/performance.md, beside other servers (ROUNDS=, SECONDS=, SERVERS=, SCENARIOS=, QUICK=1)
	cmake --build --preset release --target channelsd-load -j $(JOBS)
	@scripts/venv.sh build/venv/bench bench/requirements.txt
	@$(PYTHON) -m bench --rounds '$(ROUNDS)' --seconds '$(SECONDS)' --servers '$(SERVERS)' --scenarios '$(SCENARIOS)' $(bench_mode)

bench-layer: release ## what the channel layer costs its senders and receivers, beside channels_redis
	@scripts/venv.sh build/venv/bench bench/requirements.txt
	@$(PYTHON) -m bench.layer

lint: release ## the rules that a program can check: CONTRIBUTING.md
	@scripts/lint.sh

tidy: fuzz-deps ## clang-tidy over all C files (slow)
	cmake --preset fuzz
	git ls-files --cached --others --exclude-standard '*.c' ':!tests' | xargs -P $(JOBS) -n 4 clang-tidy --quiet -p build/fuzz

format: ## rewrites C and Python files in the project's format
	@scripts/lint.sh --format

install: release ## into PREFIX=/usr/local
	cmake --install build/release --prefix $(PREFIX)

clean: ## removes what was built; the demo's database stays
	rm -rf build dist .venv
