#!/usr/bin/env bash
# One node of a Ray cluster, in the foreground; Ctrl+C or SIGTERM ends this node and no other.
#
#   on one machine:        docs/servers/nodes.sh head [OPTIONS OF ray start]
#   on each other machine: docs/servers/nodes.sh join HEAD:6379 [OPTIONS OF ray start]
#   then, on any of them:  socketlab sweep FILE.yaml --engine ray --address HEAD:6379
#
# All machines need the same token. The head makes one in ~/.ray/auth_token; where the home folder
# is not shared, copy that file to the others first:  scp -p ~/.ray/auth_token OTHER:.ray/
set -euo pipefail
usage="usage: nodes.sh head [OPTIONS] | nodes.sh join HEAD:PORT [OPTIONS]"
role="${1:?$usage}"
shift

# Without these, Ray runs programs for whoever can reach it.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
unset RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER

# Ray opens its own folder to every user of the machine; inside this one nobody else reaches it.
folder="$(dirname "$(mktemp -u)")/socketlab-$(id -u)"
mkdir -p -m 700 "$folder"
if [[ -L "$folder" || ! -O "$folder" ]]; then
  echo "$folder is not a folder of yours. Remove it." >&2
  exit 1
fi
chmod 700 "$folder"

file="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
if [[ "$role" == head && -z "${RAY_AUTH_TOKEN:-}" && -z "${RAY_AUTH_TOKEN_PATH:-}" ]]; then
  (umask 077 && ray get-auth-token --generate >/dev/null)
fi
if [[ -z "${RAY_AUTH_TOKEN:-}" ]]; then
  if [[ ! -s "$file" ]]; then
    echo "No token in $file. Copy that file of the cluster's head to this machine." >&2
    exit 1
  fi
  chmod 600 "$file"
fi

case "$role" in
  head)
    exec ray start --head --block --port=6379 --dashboard-host=127.0.0.1 \
      --temp-dir="$folder/ray" "$@"
    ;;
  join)
    address="${1:?$usage}"
    shift
    exec ray start --block --address="$address" --temp-dir="$folder/ray" "$@"
    ;;
  *)
    echo "$usage" >&2
    exit 2
    ;;
esac
