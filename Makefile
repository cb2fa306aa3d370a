# flinktail: "make" lists what can be done.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

LISTENER := listener/target/flinktail-status-listener.jar listener/target/flinktail-failure-enricher.jar
FUZZTIME ?= 1m
ROUNDS ?= 1000
VULNDB ?= https://vuln.go.dev

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: run
run: build ## build and start example.json: recorded events at once, live ones at 127.0.0.1:8686
	./bin/flinktail run -config example.json

.PHONY: demo
demo: ## the same with a real Flink cluster and real jobs
	./test/demo.sh

.PHONY: build
build: ## compile bin/flinktail
	go build -trimpath -ldflags "-s -w" -o bin/flinktail .

.PHONY: test
test: lint unit e2e ## everything: lint, unit tests with the race detector, end-to-end tests

.PHONY: unit
unit: build ## unit tests with the race detector; some build flinktail anew, from what build has compiled
	go test -race ./...

.PHONY: e2e
e2e: build deps listener ## end-to-end tests on real servers
	go test -tags e2e -timeout 30m -p 1 -v ./test/e2e/... ./test/crash ./flusher/elasticsearch ./flusher/kafka

.PHONY: crash
crash: build ## the crash tests at length: ROUNDS (1000) kills, and power cuts, which need root and a loop device
	go test -tags e2e,power -timeout 2h -v ./test/crash -rounds $(ROUNDS)

.PHONY: lint
lint: bin/golangci-lint ## golangci-lint, formatting, import rules, licences of what is compiled in
	bin/golangci-lint run --allow-parallel-runners
	cd tools && go run ./licences

bin/golangci-lint: tools/go.sum
	cd tools && go build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# govulncheck ends with 3 when it finds something, and with 1 for every trouble of its own.
.PHONY: vulncheck
vulncheck: bin/govulncheck ## known vulnerabilities, where VULNDB (https://vuln.go.dev) can be reached
	@code=0; said=$$(bin/govulncheck -db $(VULNDB) ./... 2>&1) || code=$$?; \
	if [[ $$code == 1 && $$said == *'fetching vulnerabilities:'* ]]; then \
	  echo "vulncheck: nothing was checked: $(VULNDB) cannot be reached; VULNDB names another, such as file:///a/copy"; exit 0; \
	fi; \
	echo "$$said"; exit $$code

bin/govulncheck: tools/go.sum
	cd tools && go build -o ../$@ golang.org/x/vuln/cmd/govulncheck

.PHONY: bench
bench: build ## benchmarks, and the figures of docs/benchmarks.md
	go test -run '^$$' -bench . -benchmem ./...
	go run ./test/bench

.PHONY: fuzz
fuzz: ## every fuzzer for FUZZTIME (1m)
	for package in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$package/*_test.go | cut -c6-); do \
	    echo "$$package $$target"; go test $$package -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x; \
	  done; \
	done

.PHONY: plugins
plugins: ## compile in what plugins.yml lists
	go run ./internal/plugingen

.PHONY: generate
generate: ## the protobuf code, after a change of protocol/loggroup.proto
	cd tools && go run ./protogen ../protocol/loggroup.proto

.PHONY: listener
listener: deps $(LISTENER) ## the jars for Flink

$(LISTENER) &: $(shell find listener -name '*.java' -path '*main*' 2>/dev/null) $(shell find listener -name pom.xml)
	mvn -B -ntp -q -f listener/pom.xml package
	touch $(LISTENER)

.PHONY: deps
deps: # what the listener and the end-to-end tests need from the machine
	@./test/install-deps.sh

.PHONY: docs
docs: build ## regenerate docs/reference and the option tables
	go run ./internal/docgen

.PHONY: clean
clean: ## remove what was built
	rm -rf bin listener/target listener/*/target test/jobs/target .cache
