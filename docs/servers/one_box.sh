#!/usr/bin/env bash
# A sweep on this machine, on all its GPUs, that goes on when the terminal is closed.
#
#   docs/servers/one_box.sh FILE.yaml [OPTIONS OF socketlab sweep]
#
# The same command again goes on after whatever has happened. What it says is in sweep.log.
set -euo pipefail
: "${1:?usage: one_box.sh FILE.yaml [OPTIONS]}"
nohup socketlab sweep "$@" >>sweep.log 2>&1 </dev/null &
echo "Started as process $!. See: socketlab status, and sweep.log. End it: kill $!"
