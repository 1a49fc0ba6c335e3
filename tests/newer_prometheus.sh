#!/bin/sh
# Prometheus 3 and its Alertmanager, unpacked into a folder, from the Debian that comes next: Debian 12 has Prometheus
# 2.42. Where they cannot be had, or do not run, that is said and the exit code is 0.
set -eu
into=$1
[ -x "$into/usr/bin/promtool" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$(dirname "$0")/debian_next.sh" "$work" prometheus promtool prometheus-alertmanager || exit 0
if "$work/usr/bin/prometheus" --version >/dev/null 2>&1 && "$work/usr/bin/promtool" --version >/dev/null 2>&1; then
    mkdir -p "$into"
    cp -R "$work/usr" "$into"
    exit 0
fi
echo "Debian's next Prometheus does not run here" >&2
