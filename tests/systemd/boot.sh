#!/bin/sh
# Becomes systemd, with hnsd.service and nothing else, in namespaces that were just made: boot.sh PROGRAMS UNIT STORY OUT.
# All that it writes but OUT goes to a layer in memory above the root file system.
set -eu
programs=$1 unit=$2 story=$3 out=$4

mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mkdir -p units story usr/local/sbin
: >story/out
mount --bind "$out" story/out
cp "$story" story/story.sh
cp "$programs/hnsd" "$programs/hnsctl" usr/local/sbin/
cp "$unit" units/hnsd.service
# What every unit needs by default; those of this machine would start this machine's services.
for target in sysinit basic shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' >"units/$target.target"
done
cat >units/story.service <<'UNIT'
[Unit]
DefaultDependencies=no
Wants=hnsd.service
After=hnsd.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sh /story/story.sh >/story/out 2>&1'
ExecStopPost=/bin/systemctl --force --force exit 0
UNIT
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs none sys/fs/cgroup
mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
mount -t cgroup -o none,name=systemd none sys/fs/cgroup/systemd
mount -t cgroup2 none sys/fs/cgroup/unified
mount -t tmpfs none run
mount -t tmpfs none tmp
mount --rbind /dev dev
export container=docker SYSTEMD_UNIT_PATH=/units
exec chroot . /lib/systemd/systemd --system --unit=story.service --log-target=console --default-standard-output=null
