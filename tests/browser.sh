#!/usr/bin/env bash
# A browser, for the tests of the report's page.
#   browser.sh install      Chromium and its driver, from Debian
# Exit 77: they cannot be installed here, and one line says why.
set -euo pipefail

missing() {
    local program
    for program in chromium chromedriver; do
        command -v "$program" >/dev/null || echo "$program"
    done
}

install() {
    [[ -n $(missing) ]] || return 0
    [[ $EUID == 0 ]] || { echo "installing needs root; run: sudo tests/browser.sh install"; exit 77; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq --no-install-recommends chromium chromium-driver >/dev/null
}

case ${1-}:$# in
install:1) install ;;
*)
    echo "usage: tests/browser.sh install" >&2
    exit 2
    ;;
esac
