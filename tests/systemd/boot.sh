#!/bin/sh
# Becomes the PID 1 of a test machine, in namespaces of its own; the folder is hold.sh's.
# usage: boot.sh FOLDER
set -eu
root=$1/root

mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755,nosuid,nodev run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=1777 tmp "$root/var/tmp"
hostname machine
exec env -i container=reconciler-tests PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    chroot "$root" /lib/systemd/systemd --system --unit=basic.target --log-target=journal
