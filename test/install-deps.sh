#!/usr/bin/env bash
# Installs what the end-to-end tests and the demo need beside Go: a JDK 17 and Maven. Does nothing when they are there.
set -euo pipefail

have() { command -v "$1" >/dev/null; }
if { have javac || [ -x "${JAVA_HOME:-}/bin/javac" ]; } && have mvn; then
  exit 0
fi
if [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && have apt-get; then
  echo "installing openjdk-17-jdk-headless and maven" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends openjdk-17-jdk-headless maven >/dev/null
  exit 0
fi
echo "install a JDK 17 and Maven 3.8 or later, so that java, javac and mvn are on the PATH" >&2
exit 1
