#!/bin/bash
# A run on the machines of a Slurm job: Ray on each of them, the driver on the first, all ended with it.
#   sbatch deploy/slurm.sh preference.yaml --out /shared/runs/p --data /shared/rows/p \
#     --journal 'postgresql://karat@db.example.org/karat?schema=p'
# What follows the script goes to `karat run`. The same command again goes on where a job ended.
#SBATCH --job-name=karat
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=2G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

if [ $# -eq 0 ]; then
  echo "usage: sbatch slurm.sh RECIPE [options of karat run]" >&2
  exit 2
fi

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
# Other jobs on these machines may have a Ray of their own: ports, folder and token are this job's.
base=$((20000 + SLURM_JOB_ID % 1000 * 10))
# As Ray sees this machine, which is the first: its name may mean 127.0.0.1 here.
ip=$(python -c 'import ray; print(ray.util.get_node_ip_address())')
address="$ip:$base"
folder="/tmp/ray-$SLURM_JOB_ID"
RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0
options=(
  --num-cpus "${SLURM_CPUS_PER_TASK:-1}"
  --object-store-memory "${KARAT_STORE_BYTES:-1000000000}"
  --include-log-monitor false --disable-usage-stats --block
)
if [ -n "${SLURM_GPUS_ON_NODE:-}" ]; then
  options+=(--num-gpus "$SLURM_GPUS_ON_NODE")
fi

steps=()
start() { # NODE, options of ray start
  local node=$1
  shift
  srun --overlap --nodes=1 --ntasks=1 --nodelist="$node" ray start "$@" "${options[@]}" \
    >"karat-$SLURM_JOB_ID-$node.log" 2>&1 &
  steps+=($!)
}

end() {
  trap - EXIT
  kill -TERM "${steps[@]}" 2>/dev/null || true
  wait "${steps[@]}" 2>/dev/null || true
  srun --overlap --ntasks-per-node=1 rm -rf "$folder" || true # each machine's own
}
trap end EXIT

failed() {
  echo "Ray did not start on all machines: karat-$SLURM_JOB_ID-*.log say why" >&2
  exit 1
}

# Waits until all machines have joined.
joined() {
  python - "$address" "${#nodes[@]}" <<'PYTHON'
import logging
import sys
import time

import ray

address, wanted, until = sys.argv[1], int(sys.argv[2]), time.monotonic() + 180
ray.init(address, logging_level=logging.CRITICAL, log_to_driver=False)
while (there := sum(node["Alive"] for node in ray.nodes())) < wanted:
    if time.monotonic() > until:
        sys.exit(f"{there} of {wanted} machines have joined in three minutes")
    time.sleep(0.2)
PYTHON
}

start "$head" --head --port "$base" --include-dashboard false --temp-dir "$folder"
until (: <"/dev/tcp/$ip/$base") 2>/dev/null; do
  kill -0 "${steps[0]}" 2>/dev/null || failed
  sleep 0.2
done
for node in "${nodes[@]:1}"; do
  start "$node" --address "$address" --temp-dir "$folder"
done
joined &
joining=$!
wait -n "$joining" "${steps[@]}" || true # a machine on which Ray ends is not waited for
if kill -0 "$joining" 2>/dev/null; then
  kill -TERM "$joining"
  failed
fi
wait "$joining" || failed

# Slurm tells this script before the time is over; told on, karat records the calls under way.
karat run "$@" --executor ray --address "$address" &
driver=$!
trap 'kill -TERM "$driver" 2>/dev/null || true' TERM INT
wait "$driver" || true # returns early where the trap ran
status=0
wait "$driver" || status=$?
exit "$status"
