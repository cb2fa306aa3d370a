#!/usr/bin/env bash
# Shows flinktail with a real Flink cluster on this machine. Ctrl-C stops everything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

make -s build listener >&2
go build -o bin/demo ./test/demo
exec bin/demo bin/flinktail
