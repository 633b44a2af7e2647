#!/bin/sh
# The browser the tests look at pages with: Debian's, where it is not there already. Its shell takes
# two thirds of the CPU time of the whole one, which is taken where there is no other.
set -eu
if command -v chromium-headless-shell >/dev/null; then exit 0; fi
[ "$(id -u)" = 0 ] && as="" || as="sudo -n"
echo "Installing Chromium for the tests of the pages …"
export DEBIAN_FRONTEND=noninteractive
if { $as apt-get -qq update && $as apt-get -qq install --no-install-recommends chromium-headless-shell \
  fonts-dejavu-core; } >/dev/null 2>&1; then exit 0; fi
if command -v chromium >/dev/null || command -v google-chrome >/dev/null; then exit 0; fi
echo "The tests need a browser: install Chromium (on Debian: apt-get install chromium-headless-shell)," \
  "then run make test again" >&2
exit 1
