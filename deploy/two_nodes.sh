#!/bin/bash
# Two machines out of one: namespaces with a network, a name, processes, /tmp and /dev/shm of their
# own, joined by a switch. PostgreSQL, a model server, Ray and the driver are on the first; rows go to
# a folder both see, the recipe travels. The run must make what one process makes; then the second
# machine is lost amid another run, which must make it, too.
#   sudo deploy/two_nodes.sh [ROWS]        karat, ray, psycopg and aiohttp in the Python on PATH
set -euo pipefail

rows=${1:-4096}
root=$(cd "$(dirname "$0")/.." && pwd)
if [ "$(id -u)" -ne 0 ]; then
  echo "namespaces need root: sudo env PATH=\"\$PATH\" deploy/two_nodes.sh" >&2
  exit 2
fi
for tool in karat ray python ip unshare nsenter setpriv pgrep; do
  command -v "$tool" >/dev/null || { echo "$tool is not on PATH" >&2; exit 2; }
done
if [ -z "${TWO_NODES_INSIDE:-}" ]; then # the switch is nobody else's
  TWO_NODES_INSIDE=1 exec unshare --net --mount "$0" "$@"
fi

initdb=$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -1) \
  || { echo "PostgreSQL is not here: sh tools/postgres.sh installs it" >&2; exit 2; }
postgres=$(dirname "$(readlink -f "$initdb")")
work=$(mktemp -d /var/tmp/karat-two-XXXXXX) # seen by both, as NFS would be
chmod 755 "$work"
export OPENAI_API_KEY=none RAY_USAGE_STATS_ENABLED=0 OPENBLAS_NUM_THREADS=1
export PGPASSWORD RAY_AUTH_TOKEN RAY_AUTH_MODE=token
PGPASSWORD=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')

declare -A machine inside
machine_up() { # NAME: a machine, whose processes end with it
  unshare --fork --pid --kill-child --mount-proc --net --uts --mount --ipc \
    bash -c 'hostname "$1" && mount -t tmpfs tmp /tmp && mount -t tmpfs -o size=2g shm /dev/shm \
      && ip link set lo up && touch "$2/$1.up" && exec sleep infinity' _ "$1" "$work" &
  machine[$1]=$!
  until [ -e "$work/$1.up" ]; do sleep 0.05; done
  inside[$1]=$(pgrep -P "${machine[$1]}")
}
on() { # NAME, COMMAND …
  local name=$1
  shift
  nsenter --target "${inside[$name]}" --pid --net --uts --mount --ipc "$@"
}
network() { # a switch between them, which stays when one of them is gone
  ip link add switch type bridge
  ip link set switch up
  local n
  for n in 1 2; do
    ip link add "cable$n" master switch type veth peer name net0 netns "${inside[node-$n]}"
    ip link set "cable$n" up
    on "node-$n" ip addr add "10.231.7.$n/24" dev net0
    on "node-$n" ip link set net0 up
    on "node-$n" ip route add default dev net0
  done
}
off() { # NAME
  { kill -KILL "${machine[$1]}" && wait "${machine[$1]}"; } 2>/dev/null || true
}
end() {
  off node-1 # all that runs in a machine goes with it
  off node-2
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap end EXIT

machine_up node-1
machine_up node-2
network

within() { # SECONDS, LOG, COMMAND …: until it succeeds
  local until=$((SECONDS + $1)) log=$2
  shift 2
  until "$@" 2>/dev/null; do
    if ((SECONDS > until)); then
      cat "$log" >&2
      exit 1
    fi
    sleep 0.2
  done
}
database() {
  local user=nobody
  if id postgres >/dev/null 2>&1; then user=postgres; fi
  as=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups)
  install -d -o "$user" "$work/pg"
  install -o "$user" -m 600 <(echo "$PGPASSWORD") "$work/secret"
  on node-1 "${as[@]}" "$postgres/initdb" -D "$work/pg" -U karat --pwfile="$work/secret" \
    -A scram-sha-256 -E UTF8 --locale C.UTF-8 --no-sync >/dev/null
  echo "host all all 10.231.7.0/24 scram-sha-256" >>"$work/pg/pg_hba.conf"
  on node-1 "${as[@]}" "$postgres/postgres" -D "$work/pg" -c listen_addresses=10.231.7.1 \
    -c unix_socket_directories= -c log_min_messages=fatal 2>"$work/pg.log" &
  disown
  within 20 "$work/pg.log" on node-1 "$postgres/pg_isready" -q -h 10.231.7.1
}
ray_up() { # NAME, ADDRESS, options of ray start
  local name=$1 ip=$2
  shift 2
  on "$name" ray start "$@" --node-ip-address "$ip" --num-cpus 2 --object-store-memory 200000000 \
    --include-log-monitor false --disable-usage-stats --block >"$work/$name.log" 2>&1 &
  disown
}
recipe() {
  on node-1 python - "$rows" <<'PYTHON'
import json
import sys
from pathlib import Path

folder = Path("/tmp/recipe")
folder.mkdir()
lines = (json.dumps({"prompt": f"What is number {n}?"}) + "\n" for n in range(int(sys.argv[1])))
(folder / "prompts.jsonl").write_text("".join(lines))
(folder / "marked.py").write_text('''
import karat


@karat.step
async def mark(row: karat.Row, ctx: karat.Context) -> karat.Row:
    """A step of the recipe's own folder."""
    row.meta["words"] = sum(len(one.content.split()) for one in row.responses)
    return row
''')
(folder / "recipe.yaml").write_text('''
name: two
seed: 7
models:
  loop: {model: openai/loop, base_url: "http://10.231.7.1:9000/v1", concurrency: 64}
steps:
  - read: {path: prompts.jsonl}
  - respond: {models: [loop], n: 2}
  - marked:mark: {}
  - dedupe: {on: prompt}
''')
PYTHON
}
run() { # SCHEMA
  on node-1 karat run /tmp/recipe/recipe.yaml --out "/tmp/$1" --executor ray --workers 4 \
    --address 10.231.7.1:6379 --data "$work/rows-$1" \
    --journal "postgresql://karat@10.231.7.1/postgres?schema=$1" >"$work/$1.log" 2>&1
}
compare() { # SCHEMA: equal to what one process made, and who did what
  on node-1 python - "$1" "$work" <<'PYTHON'
import json
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

name, work = sys.argv[1], Path(sys.argv[2])
made, alone = (pq.read_table(at) for at in (work / f"rows-{name}/accepted.parquet",
                                            "/tmp/alone/accepted.parquet"))
live = json.loads(Path(f"/tmp/{name}/live.json").read_bytes())
rows = Counter()
for worker in live["workers"]:
    rows[worker["node"].partition("/")[0]] += worker["rows"]
print(f"{name}: {made.num_rows:,} rows, equal to one process's: {made.equals(alone)}")
print(f"{name}: rows walked by machine: {dict(sorted(rows.items()))}; calls {live['calls']:,}")
print(f"{name}: cluster.log says\n  " + "\n  ".join(
    line.partition(' ')[2] for line in Path(f"/tmp/{name}/cluster.log").read_text().splitlines()))
sys.exit(not made.equals(alone) or len(rows) < 2)
PYTHON
}

database
LOOPBACK_HOST=10.231.7.1 on node-1 python "$root/benchmarks/loopback.py" 9000 20 2>/dev/null &
disown
ray_up node-1 10.231.7.1 --head --port 6379 --include-dashboard false
within 60 "$work/node-1.log" on node-1 bash -c ': </dev/tcp/10.231.7.1/6379'
ray_up node-2 10.231.7.2 --address 10.231.7.1:6379
within 60 "$work/node-2.log" grep -q "Ray runtime started" "$work/node-2.log"
recipe
echo "two machines: $(on node-1 hostname) 10.231.7.1, $(on node-2 hostname) 10.231.7.2;" \
  "the second sees of the first's files: $(on node-2 ls /tmp/recipe 2>/dev/null | wc -l)"

on node-1 karat run /tmp/recipe/recipe.yaml --out /tmp/alone >"$work/alone.log" 2>&1 \
  || { cat "$work/alone.log"; exit 1; }
began=$SECONDS
run both || { cat "$work/both.log" "$work"/node-*.log; exit 1; }
echo "both: $((SECONDS - began)) s"
compare both

began=$SECONDS
run lost &
running=$!
until on node-1 python -c '
import json, sys
workers = json.load(open("/tmp/lost/live.json"))["workers"]
sys.exit(not any(w["rows"] and w["node"].startswith("node-2") for w in workers))' 2>/dev/null; do
  kill -0 "$running" 2>/dev/null || { cat "$work/lost.log"; exit 1; }
  sleep 0.2
done
off node-2
echo "lost: node-2 is switched off after $((SECONDS - began)) s"
wait "$running" || { cat "$work/lost.log"; exit 1; }
echo "lost: ended after $((SECONDS - began)) s"
compare lost
on node-1 python - "$rows" <<'PYTHON' # the three runs bought each row's answers once, beside these
import json
import sys
import urllib.request

served = json.load(urllib.request.urlopen("http://10.231.7.1:9000/stats"))["served"]
print(f"lost: calls that were paid twice: {served - 3 * int(sys.argv[1]):,}")
PYTHON
