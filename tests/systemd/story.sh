#!/bin/sh
# What an operator sees of hnsd.service: a line each, read by tests/systemd.rs.

is() { systemctl show --property "$1" --value hnsd; }
network() { hnsctl network ls | grep '^nat '; }

echo "started $(is ActiveState)"
network
kill -KILL "$(is MainPID)"
timeout 10 sh -c 'until systemctl show hnsd | grep -qx NRestarts=1 && systemctl -q is-active hnsd; do sleep 0.05; done'
echo "killed $(is ActiveState)"
network
systemctl stop hnsd
echo "stopped $(is ActiveState) $(is Result)"
