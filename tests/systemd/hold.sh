#!/bin/sh
# Builds the file systems of a test machine in the mount namespace of this process, and keeps
# them for as long as standard input is open: a machine can be switched off and on again.
# usage: unshare --mount --propagation=private hold.sh FOLDER [SOURCE=TARGET]...
set -eu
folder=$1
root=$folder/root
shift

mount -t tmpfs -o mode=0755 machine "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/cgroups" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" machine "$root"

# Environments and programs lie on a plain tmpfs: overlayfs knows no hard links and no
# RENAME_EXCHANGE for what comes from its lower layer.
for place in srv opt home; do
    mkdir -p "$root/$place"
    mount -t tmpfs -o mode=0755 "$place" "$root/$place"
done

mount -t tmpfs -o mode=0755,nosuid dev "$root/dev"
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    name=${node%%:*} numbers=${node#*:}
    mknod -m 0666 "$root/dev/$name" c "${numbers%:*}" "${numbers#*:}"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

# Nothing of the machine that we are a guest of: neither what it has enabled, nor what
# would set its clock, kernel or devices.
rm -rf "$root/etc/systemd/system" "$root/etc/systemd/user"
mkdir -p "$root/etc/systemd/system" "$root/etc/systemd/user"
rm -rf "$root/etc/uv" "$root/etc/reconciler" "$root/var/lib/systemd/linger"
echo machine > "$root/etc/hostname"
for unit in systemd-modules-load.service systemd-sysctl.service systemd-binfmt.service \
    proc-sys-fs-binfmt_misc.automount systemd-udevd.service systemd-udev-trigger.service \
    systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-timesyncd.service \
    systemd-random-seed.service systemd-remount-fs.service systemd-firstboot.service \
    systemd-journald-audit.socket systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service \
    dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
    systemd-tmpfiles-clean.timer systemd-networkd.service systemd-resolved.service systemd-pstore.service \
    kmod-static-nodes.service console-getty.service ldconfig.service apparmor.service; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
done
: > "$root/etc/fstab"
: > "$root/etc/machine-id"

for pair in "$@"; do
    mkdir -p "$root/${pair##*=}"
    mount --bind "${pair%=*}" "$root/${pair##*=}"
    mount -o remount,bind,ro "$root/${pair##*=}"
    # Within reach of other users too, wherever it lies (the interpreter, below /root).
    above=$(dirname "${pair##*=}")
    while [ "$above" != / ]; do
        chmod a+x "$root/$above"
        above=$(dirname "$above")
    done
done

# Its control groups: a branch of this machine's, removed with it.
mount -t cgroup2 cgroup2 "$folder/cgroups"
branch=$folder/cgroups/reconciler-tests-$$
mkdir "$branch"
ln -s "$branch" "$folder/cgroup"
trap 'find "$branch" -depth -type d -exec rmdir {} +' EXIT

echo ready
cat
