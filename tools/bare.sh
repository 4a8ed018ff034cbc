#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: bare.sh [VERB...]
#
# Makes a bare Debian 12 (a minbase chroot with only git and ca-certificates beside what
# every Debian has), clones this repository into it, and runs `./dev VERB` there, by default
# `demo` and then `test`: what a stranger does on a new machine. Needs root and mmdebstrap.
#
# Packages come from where this machine's own apt takes them; uncommitted changes are not
# in the clone. The chroot is removed at the end unless KEEP=1.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || {
    echo "bare: needs root (mounts and a chroot)" >&2
    exit 1
}
[ $# -gt 0 ] || set -- demo test
# Mounts of our own, which nobody else sees and which end with us.
[ -n "${BARE_INSIDE:-}" ] || exec unshare --mount env BARE_INSIDE=1 tools/bare.sh "$@"

top=$(mktemp -d /var/tmp/errand-bare.XXXXXX)
target=$top/root
# shellcheck disable=SC2317
leave() {
    for place in dev/shm dev/pts dev sys proc; do
        ! mountpoint -q "$target/$place" || umount "$target/$place" || umount -l "$target/$place"
    done
    if [ "${KEEP:-}" = 1 ]; then
        echo "bare: kept $target" >&2
    else
        rm -rf --one-file-system "$top"
    fi
}
trap leave EXIT
trap 'exit 130' INT TERM

# The host's own Debian sources, of either format, without their signing keys' paths (the
# chroot has Debian's keyring at the same place).
sources=$top/sources.list
python3 - >"$sources" <<'PY'
import glob
lines = []
for path in ["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*.list")]:
    try:
        text = open(path).read()
    except OSError:
        continue
    lines += [l for l in text.splitlines() if l.startswith("deb ") and "bookworm" in l and "debian" in l]
for path in glob.glob("/etc/apt/sources.list.d/*.sources"):
    for part in open(path).read().split("\n\n"):
        fields = dict(
            (key.strip(), value.strip())
            for key, _, value in (l.partition(":") for l in part.splitlines() if ":" in l and l[0] != "#")
        )
        if "deb" not in fields.get("Types", "").split() or "debian" not in fields.get("URIs", ""):
            continue
        for uri in fields["URIs"].split():
            for suite in fields["Suites"].split():
                if suite.startswith("bookworm"):
                    lines.append(f"deb {uri} {suite} {fields.get('Components', '')}")
print("\n".join(lines))
PY
[ -s "$sources" ] || {
    echo "bare: this machine has no Debian 12 sources to take packages from" >&2
    exit 1
}

echo "bare: making a bare Debian 12" >&2
mmdebstrap --quiet --variant=minbase --include=git,ca-certificates bookworm "$target" "$sources"
cp /etc/resolv.conf "$target/etc/resolv.conf"
[ ! -d /usr/local/share/ca-certificates ] || {
    cp -R /usr/local/share/ca-certificates/. "$target/usr/local/share/ca-certificates/"
    chroot "$target" update-ca-certificates >/dev/null 2>&1
}
mount -t proc proc "$target/proc"
mount -t sysfs sys "$target/sys"
mount --bind /dev "$target/dev"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$target/dev/pts"
mount -t tmpfs shm "$target/dev/shm"

git clone --quiet --no-hardlinks . "$target/root/errand"
code=0
for verb in "$@"; do
    echo "bare: ./dev $verb" >&2
    # An environment as a login has it: nothing of this machine's comes along.
    chroot "$target" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LANG=C.UTF-8 \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        sh -c "cd /root/errand && ./dev $verb" </dev/null || code=$?
    [ $code -eq 0 ] || break
done
exit $code
