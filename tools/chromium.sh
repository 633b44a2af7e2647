#!/bin/sh
# The browser the tests look at pages with: Debian's, where it is not there already.
set -eu
if command -v chromium >/dev/null || command -v google-chrome >/dev/null; then exit 0; fi
say="install Chromium (on Debian: apt-get install chromium), then run make test again"
command -v apt-get >/dev/null || { echo "The tests need a browser: $say" >&2; exit 1; }
[ "$(id -u)" = 0 ] && as="" || as="sudo -n"
echo "Installing Chromium for the tests of the pages …"
export DEBIAN_FRONTEND=noninteractive
{ $as apt-get -qq update && $as apt-get -qq install --no-install-recommends chromium fonts-dejavu-core; } \
  >/dev/null || { echo "The tests need a browser: $say" >&2; exit 1; }
