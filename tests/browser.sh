#!/usr/bin/env bash
# A browser, for the tests of the report's page.
#   browser.sh install                        Chromium and its driver, from Debian
#   browser.sh picture PAGE.html FILE.png     what a desktop shows of a page at first
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

picture() {
    chromium --headless --no-sandbox --hide-scrollbars --window-size=1400,1500 --virtual-time-budget=5000 \
        --screenshot="$2" "file://$(realpath "$1")" 2>/dev/null
}

case ${1-}:$# in
install:1) install ;;
picture:3) picture "$2" "$3" ;;
*)
    echo "usage: tests/browser.sh install | picture PAGE.html FILE.png" >&2
    exit 2
    ;;
esac
