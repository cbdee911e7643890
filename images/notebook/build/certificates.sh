#!/bin/sh
# Adds the certificates of ca-bundle.crt that this system does not trust yet, one file each,
# because Debian's tools (Java's trust store among them) take one certificate a file.
set -eu
bundle="$(dirname "$0")/ca-bundle.crt"
[ -s "$bundle" ] || exit 0

work="$(mktemp -d)"
awk -v dir="$work" '
    /-----BEGIN CERTIFICATE-----/ { file = sprintf("%s/%04d.pem", dir, ++n) }
    file { print > file }
    /-----END CERTIFICATE-----/ { close(file); file = "" }
' "$bundle"

fingerprint() { openssl x509 -noout -fingerprint -sha256 -in "$1" 2>/dev/null; }

for known in /etc/ssl/certs/*.pem; do fingerprint "$known"; done | sort -u > "$work/known" || true
added=0
for new in "$work"/*.pem; do
    print="$(fingerprint "$new")" || { echo "ca-bundle.crt: one block is no certificate" >&2; exit 1; }
    grep -qxF "$print" "$work/known" && continue
    cp "$new" "/usr/local/share/ca-certificates/workroom-$(basename "$new" .pem).crt"
    added=$((added + 1))
done
rm -rf "$work"
echo "certificates: $added added to the system's"
update-ca-certificates > /dev/null
