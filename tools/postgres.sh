#!/bin/sh
# The database the tests of shared journals use: Debian's PostgreSQL, where it is not there already.
set -eu
if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then exit 0; fi
say="install PostgreSQL 14 or newer (on Debian: apt-get install postgresql), then run make test again"
command -v apt-get >/dev/null || { echo "The tests need a database: $say" >&2; exit 1; }
[ "$(id -u)" = 0 ] && as="" || as="sudo -n"
echo "Installing PostgreSQL for the tests of shared journals …"
export DEBIAN_FRONTEND=noninteractive
# No cluster of Debian's own is made or started: the tests make theirs, and throw them away.
{ $as mkdir -p /etc/postgresql-common/createcluster.d \
  && echo "create_main_cluster = false" | $as tee /etc/postgresql-common/createcluster.d/karat.conf \
  && $as apt-get -qq update && $as apt-get -qq install --no-install-recommends postgresql; } \
  >/dev/null || { echo "The tests need a database: $say" >&2; exit 1; }
