#!/bin/sh
# Writes requirements/*.txt: exact versions and hashes for every platform, and no address.
# `UPGRADE=1 make lock` takes the newest versions instead of keeping those already locked.
set -eu
cd "$(dirname "$0")/../.."

compile() { # OUTPUT, then the input and its options
    output=requirements/$1
    shift
    .venv/bin/uv pip compile "$@" --output-file "$output" --quiet ${UPGRADE:+--upgrade} \
        --generate-hashes --universal --python-version 3.11 \
        --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'
    echo "$output: $(grep -c '==' "$output") packages"
}

compile bootstrap.txt requirements/bootstrap.in
compile hub.txt pyproject.toml
compile infra.txt pyproject.toml --extra infra --constraints requirements/hub.txt
compile hub-image.txt pyproject.toml --extra postgresql --constraints requirements/hub.txt
compile dev.txt pyproject.toml --extra infra --extra postgresql --group dev --constraints requirements/hub.txt
compile emulator.txt requirements/emulator.in
