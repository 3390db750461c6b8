#!/usr/bin/env bash
# A sweep on the nodes of one Slurm job: a Ray head on the first of them, the others join it.
#
#   sbatch docs/servers/slurm.sh FILE.yaml [OPTIONS OF socketlab sweep]
#
# Submit it from the project's folder, which all nodes must share, with socketlab on PATH. Before
# its time is over, and when it is preempted, it is put into the queue again and goes on there.
#SBATCH --job-name=socketlab
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
: "${1:?usage: sbatch slurm.sh FILE.yaml [OPTIONS]}"
cd "${SLURM_SUBMIT_DIR:?this is started by sbatch}"
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
if [[ -z "${RAY_AUTH_TOKEN:-}${RAY_AUTH_TOKEN_PATH:-}" ]]; then
  (umask 077 && ray get-auth-token --generate >/dev/null) # in the home folder, which nodes share
fi

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
one=(srun --overlap --nodes=1 --ntasks=1)
ip=$("${one[@]}" --nodelist="${hosts[0]}" hostname -I | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000)) # another job on these nodes has another one
size=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}")
[[ -n "${SLURM_GPUS_ON_NODE:-}" ]] && size+=(--num-gpus="$SLURM_GPUS_ON_NODE")

nodes=()
stopped=""
sweep=""
trap 'stopped=yes; [[ -z "$sweep" ]] || kill -TERM "$sweep" 2>/dev/null || true' TERM
trap 'kill -TERM "${nodes[@]}" 2>/dev/null || true; wait' EXIT

"${one[@]}" --nodelist="${hosts[0]}" docs/servers/nodes.sh head \
  --node-ip-address="$ip" --port="$port" "${size[@]}" &
nodes+=($!)
until ray status --address "$ip:$port" >/dev/null 2>&1; do
  kill -0 "${nodes[0]}" || exit 1 # it said why
  [[ -z "$stopped" ]] || break
  sleep 2
done
for host in "${hosts[@]:1}"; do
  "${one[@]}" --nodelist="$host" docs/servers/nodes.sh join "$ip:$port" "${size[@]}" &
  nodes+=($!)
done

status=0
if [[ -z "$stopped" ]]; then
  socketlab sweep "$@" --engine ray --address "$ip:$port" &
  sweep=$!
  wait "$sweep" || status=$?
fi
if [[ -n "$stopped" ]]; then
  wait "$sweep" || true # it saves what it has
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
