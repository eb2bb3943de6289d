#!/usr/bin/env bash
# Installs what the tests need (Azurite, pinned by package-lock.json), checks style, runs every test.
# Needs Rust and Node 20 or newer. Ends in cargo's count.
set -euo pipefail
cd "$(dirname "$0")"

# npm leaves a copy of the lock file behind, stamped by us with the one it was made from
if ! cmp -s package-lock.json node_modules/.installed-from-lock 2>/dev/null; then
  npm ci --ignore-scripts --no-fund --no-audit
  cp package-lock.json node_modules/.installed-from-lock
fi

cargo fmt --check
cargo clippy --all-targets -- -D warnings
cargo test "$@"
