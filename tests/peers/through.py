#!/usr/bin/env python3
"""Runs the HTTP/2 and gRPC peers of this folder against each other: directly, through Envoy, through weft-proxy.

    through.py [--only WAY,…] [--weft PROGRAM] [--seconds 2] [--list]      a proxy's name stands for all of its ways

A way is what stands between, the protocol downstream and the protocol upstream. Over each that speaks HTTP/2 on both sides
both gRPC clients call both gRPC servers; over each the HTTP client calls the HTTP server. All cases of a client run, but
for those that WAYS leaves out, with the reason. Prints a line for each pair, and every failed case; the exit code is 1 if
one failed. Needs setup.sh, and for weft-proxy its program. All traffic stays on loopback, everything is bounded in time,
and only processes started here are ended.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "weft"
PEERS = pathlib.Path(os.environ.get("WEFT_PEERS", CACHE / "peers"))
START_TIMEOUT = 20  # seconds
PAIR_TIMEOUT = 240
TIMEOUT = 600
AUTHORITY = "echo.test"


@dataclasses.dataclass(frozen=True)
class Way:
    """What stands between two peers. `without`: cases that cannot be had on this way, each with its reason."""

    proxy: str
    downstream: str
    upstream: str
    without: dict = dataclasses.field(default_factory=dict)

    @property
    def name(self):
        return f"{self.proxy}-{self.downstream}-{self.upstream}"


HALF_CLOSED = {"cancel": "a downstream that closes its side may still read; only a write that fails shows more"}
WAYS = [
    Way("direct", "h2", "h2"),
    Way("direct", "h1", "h1"),
    Way("envoy", "h2", "h2"),
    Way("envoy", "h1", "h2", {"websocket": "Envoy makes no sec-websocket-accept where the upstream has none (RFC 8441 §5)"}),
    Way("envoy", "h2", "h1", {"websocket": "Envoy makes no sec-websocket-key where the downstream has none (RFC 8441 §5)"}),
    Way("weft", "h2", "h2"),
    Way("weft", "h1", "h2", HALF_CLOSED),
    Way("weft", "h2", "h1"),
    Way("weft", "h1", "h1", HALF_CLOSED),
]


class Child:
    """A process that was started here, and is ended here."""

    def __init__(self, command, log, environment=None):
        self.log = open(log, "w+b")
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **(environment or {})},
        )

    def line(self):
        """Its first line."""
        lines = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=START_TIMEOUT).decode()
        except queue.Empty:
            line = ""
        return line or self.fail("said nothing")

    def wait_for(self, port):
        """Waits until it listens."""
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            time.sleep(0.05)
        self.fail(f"does not listen on {port}")

    def fail(self, what):
        self.log.seek(0)
        sys.exit(f"{self.process.args} {what}:\n{self.log.read()[-3000:].decode(errors='replace')}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()


def node(script, *words):
    return ["node", HERE / script, *words], {"NODE_PATH": str(PEERS / "node/node_modules")}


def python(script):
    return [PEERS / "venv/bin/python", HERE / script], {}


# The window makes uploads wait, as downloads do for the client's own.
HTTP_SERVER = node("http2/server.js", "--window", "4096")
GRPC_SERVERS = {"python": python("grpc/server.py"), "node": node("grpc/server.js")}
GRPC_CLIENTS = {"python": python("grpc/client.py"), "node": node("grpc/client.js")}


def bootstrap(listen, admin, way, upstream):
    """A proxy from one port to another, as a bootstrap that Envoy and weft-proxy both read."""
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "envoy.extensions.filters.http.router.v3.Router"
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    typed = lambda name, **fields: {"@type": f"type.googleapis.com/{name}", **fields}
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    http2 = {"http2_protocol_options": {"allow_connect": True}}
    http1 = {"http_protocol_options": {"enable_trailers": True}}
    route = {"cluster": "upstream", "timeout": "0s"}
    routes = [{"match": {"prefix": "/"}, "route": route}]
    http = typed(
        manager,
        stat_prefix="http",
        codec_type="AUTO",
        **http2,
        **http1,
        upgrade_configs=[{"upgrade_type": "websocket"}],
        proxy_100_continue=True,
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": typed(router)}],
        route_config={"name": "routes", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}
    endpoint = {"endpoint": {"address": address(upstream)}}
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            options: typed(options, explicit_http_config=http2 if way.upstream == "h2" else http1)
        },
    }
    return {
        "node": {"id": "between", "cluster": "test"},
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{"name": "in", "address": address(listen), "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def between(way, upstream, folder, weft):
    """Starts what stands between; gives the port to go to."""
    if way.proxy == "direct":
        yield upstream
        return
    listen = free_port()
    config = folder / "bootstrap.json"
    config.write_text(json.dumps(bootstrap(listen, free_port(), way, upstream)))
    if way.proxy == "envoy":
        command = [PEERS / "envoy", "-c", config, "--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    else:
        command = [weft, "--bootstrap", config, "--concurrency", "1", "--log-level", "warn"]
        command += ["--metrics-listen", f"127.0.0.1:{free_port()}"]
    proxy = Child(command, folder / "proxy.log")
    try:
        proxy.wait_for(listen)
        yield listen
    finally:
        proxy.stop()


def pair(way, name, server, client, extra, folder, weft):
    """One client against one server; gives the number of failed cases."""
    command, environment = server
    started = Child(command, folder / "server.log", environment)
    try:
        ports = dict(zip(("h2", "h1"), map(int, started.line().split()[1:])))
        with between(way, ports[way.upstream], folder, weft) as port:
            lines = call(client, cases_of(client, way), [*extra, "--target", f"127.0.0.1:{port}"])
    finally:
        started.stop()
    for line in lines:
        must_be_read(way, line)
    failed = [line for line in lines if not line["passed"]]
    passed = f"{len(lines) - len(failed)} of {len(lines)} cases"
    print(f"{'FAILED' if failed else 'passed':<7} {way.name:<13} {name:<20} {passed}", flush=True)
    for line in failed:
        print(f"        {line['case']}: {line['error']}", flush=True)
    for log in (folder / "server.log", folder / "proxy.log"):
        if failed and log.exists() and log.stat().st_size > 0:
            print(f"        {log.name}: {log.read_text(errors='replace')[-2000:]}", flush=True)
    return len(failed)


def must_be_read(way, line):
    """Fails the case `get` of a proxy that handed the bytes on unread: it writes its name, and the server writes none."""
    if line["case"] == "get" and line["passed"] and line["saw"].get("server") != (None if way.proxy == "direct" else way.proxy):
        line.update(passed=False, error=f"the answer is from {line['saw'].get('server')}: nobody but the ends has read it")


def cases_of(client, way):
    """All cases of a client but those that this way is without."""
    command, environment = client
    words, environment = [*map(str, command), "--list"], {**os.environ, **environment}
    listed = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return [case for case in listed.stdout.split() if case not in way.without]


def call(client, cases, options):
    """Runs the cases; each has its line, also where the client ends before it has come so far."""
    command, environment = client
    words = [*map(str, command), "--authority", AUTHORITY, "--case", ",".join(cases), *options]
    environment = {**os.environ, **environment}
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PAIR_TIMEOUT)
        out, reason = done.stdout, f"the client ended with {done.returncode}: {done.stderr[-1000:]}"
    except subprocess.TimeoutExpired as late:
        out, reason = (late.stdout or b"").decode(), f"the client was not over after {PAIR_TIMEOUT} s"
    lines = {line["case"]: line for line in map(json.loads, out.splitlines())}
    return [lines.get(case, {"case": case, "passed": False, "error": reason}) for case in cases]


def run(way, options):
    """All pairs over one way; gives the number of failed cases."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="weft-through-") as name:
        folder = pathlib.Path(name)
        http = node("http2/client.js"), ["--protocol", way.downstream]
        failed += pair(way, "http", HTTP_SERVER, *http, folder, options.weft)
        if way.downstream == way.upstream == "h2":
            seconds = ["--seconds", str(options.seconds)]
            for server in GRPC_SERVERS:
                for client in GRPC_CLIENTS:
                    pair_name = f"grpc {client} → {server}"
                    failed += pair(way, pair_name, GRPC_SERVERS[server], GRPC_CLIENTS[client], seconds, folder, options.weft)
    return failed


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--weft", default=shutil.which("weft-proxy"))
    parser.add_argument("--seconds", type=int, default=2, choices=range(601), metavar="0..600")
    options = parser.parse_args()
    by_name = {way.name: way for way in WAYS}
    if options.list:
        print("\n".join(by_name))
        sys.exit(0)
    names = options.only.split(",") if options.only else list(by_name)
    options.ways = []
    for name in names:
        found = [way for way in WAYS if name in (way.name, way.proxy)]
        if not found:
            parser.error(f"--only: must be of {', '.join(by_name)}, got {name!r}")
        options.ways += found
    if any(way.proxy == "weft" for way in options.ways) and not pathlib.Path(options.weft or "").is_file():
        parser.error(f"--weft: must be the program for the ways through weft-proxy, got {options.weft}")
    return options


def main():
    options = read_options()
    # Both leave by way of everything that ends what was started.
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"not over after {TIMEOUT} s"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    signal.alarm(TIMEOUT)
    failed = sum(run(way, options) for way in options.ways)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
