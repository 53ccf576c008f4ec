#!/usr/bin/env python3
"""Runs the HTTP/2 and gRPC peers of this folder against each other: directly, through Envoy, through weft-proxy, through rows
of these, HAProxy and nginx.

    through.py [--only WAY,…] [--case CASE,…] [--brief] [--weft PROGRAM] [--seconds 2] [--list]

A way is what stands between, from downstream to upstream, and the protocols before, between and behind. Over each that speaks
HTTP/2 at both ends both gRPC clients call both gRPC servers; over each the HTTP client calls the HTTP server. All cases of a
client run, but for those that WAYS leaves out, with the reason. For --only the proxies of a way stand for all of theirs, and
`rows` for all ways with more than one. --brief has one pair over gRPC, and no large bodies.
Prints a line for each pair, and every failed case; the exit code is 1 if one failed. Needs setup.sh, and for weft-proxy its
program. All traffic stays on loopback, everything is bounded in time, and only processes started here are ended.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

from between import PEERS, Child, between

HERE = pathlib.Path(__file__).resolve().parent
PAIR_TIMEOUT = 240  # seconds
WAY_TIMEOUT = 600
AUTHORITY = "echo.test"
LARGE_CASES = {"download", "upload"}  # of 100 MB each
BOTH = ("http", "grpc")
ALL = (*BOTH, "standard")
MAX_AGE_MS = 300


@dataclasses.dataclass(frozen=True)
class Way:
    """What stands between two peers. `without`: cases that cannot be had on this way, each with its reason; `http/` or
    `grpc/` before a name stands for those clients alone."""

    proxies: str
    protocols: str
    without: dict = dataclasses.field(default_factory=dict)
    kinds: tuple = BOTH

    @property
    def name(self):
        return f"{self.proxies}-{self.protocols}"

    @property
    def row(self):
        return () if self.proxies == "direct" else tuple(self.proxies.split("+"))

    @property
    def ends(self):
        """The protocols that the client and the server speak."""
        first, *_, last = self.protocols.split("-")
        return first, last


ENVOY_SOCKETS = {"websocket": "Envoy makes neither key nor digest of a WebSocket where the other side has none (RFC 8441 §5)"}
# All of these are so without weft-proxy, too.
HAPROXY = {
    "reset": "HAProxy ends an answer that was broken off as if it were whole",
    "early-status": "HAProxy breaks an answer off for the RST_STREAM(NO_ERROR) behind it (RFC 9113 §8.1)",
}
HAPROXY_HTTP1 = {
    **HAPROXY,
    "cancel": "HAProxy does not look whether a downstream over HTTP/1.1 is gone",
    "bidi": "HAProxy holds a request over HTTP/1.1 back until there is more of it",
    "deadline": "HAProxy makes no status of a call that is given up over HTTP/1.1",
    "trailers-only": "HAProxy makes a status of HTTP/1.1 unknown where there is no body",
}
NGINX = {
    "early-hints": "nginx takes a 103 for the whole head, and all behind it for a body that ends with the connection",
    "trailers": "nginx forwards no trailers over HTTP/1.1",
    "many-at-once": "nginx forwards no trailers over HTTP/1.1",
    "continue-refused": "nginx says 100 itself, and then breaks the request off",
}
# A downstream over HTTP/1.1 that closes its side may still read: it is given three seconds, which grpc-js does not wait.
HALF_CLOSED = {"grpc/cancel": "weft-proxy hears of a downstream over HTTP/1.1 that is gone only when nothing is read for a while"}
WAYS = [
    Way("direct", "h2-h2"),
    Way("direct", "h1-h1"),
    Way("envoy", "h2-h2"),
    Way("envoy", "h1-h2", ENVOY_SOCKETS),
    Way("envoy", "h2-h1", ENVOY_SOCKETS),
    Way("weft", "h2-h2", kinds=ALL),
    Way("weft", "h1-h2"),
    Way("weft", "h2-h1"),
    Way("weft", "h1-h1"),
    Way("haproxy", "h2-h2", HAPROXY),
    Way("nginx", "h1-h1", NGINX),
    Way("nginx", "h2-h2", kinds=("grpc",)),
    Way("envoy+envoy", "h2-h1-h2", ENVOY_SOCKETS),
    Way("haproxy+haproxy", "h2-h1-h2", HAPROXY_HTTP1),
    Way("envoy+weft", "h2-h2-h2"),
    Way("weft+envoy", "h2-h2-h2"),
    Way("haproxy+weft", "h2-h2-h2", HAPROXY),
    Way("weft+haproxy", "h2-h2-h2", HAPROXY),
    Way("envoy+weft", "h2-h1-h2", {**ENVOY_SOCKETS, **HALF_CLOSED}),
    Way("weft+envoy", "h2-h1-h2"),
    Way("haproxy+weft", "h2-h1-h2", HAPROXY),
    Way("weft+haproxy", "h2-h1-h2", HAPROXY_HTTP1),
    Way("nginx+weft", "h1-h1-h1", NGINX),
    Way("weft+nginx", "h1-h1-h1", NGINX),
    Way("nginx+weft", "h2-h2-h2", kinds=("grpc",)),
    Way("weft+nginx", "h2-h2-h2", kinds=("grpc",)),
]


def node(script, *words):
    return ["node", HERE / script, *words], {"NODE_PATH": str(PEERS / "node/node_modules")}


def python(script, *words):
    return [PEERS / "venv/bin/python", HERE / script, *words], {}


# The window makes uploads wait, as downloads do for the client's own.
HTTP_SERVER = node("http2/server.js", "--window", "4096")
GRPC_SERVERS = {"python": python("grpc/server.py"), "node": node("grpc/server.js")}
STANDARD_CLIENT = python("grpc/standard.py")
STANDARD_SERVERS = {
    "standard": (python("grpc/server.py", "--standard"), ("health", "reflection", "keepalive")),
    "renewed": (python("grpc/server.py", "--max-age", MAX_AGE_MS), ("renewed",)),
}
GRPC_CLIENTS = {"python": python("grpc/client.py"), "node": node("grpc/client.js")}


def pair(way, name, server, client, extra, folder, options, only=None):
    """One client against one server, of its cases these alone if they are named; gives the number of failed cases."""
    kind = name.split()[0]
    cases = [case for case in cases_of(client, options) if not {case, f"{kind}/{case}"} & way.without.keys()]
    cases = [case for case in cases if only is None or case in only]
    if not cases:
        return 0
    options.ran += len(cases)
    command, environment = server
    folder = pathlib.Path(tempfile.mkdtemp(dir=folder))
    started = Child(command, folder / "server.log", environment)
    try:
        ports = dict(zip(("h2", "h1"), map(int, started.line().split()[1:])))
        downstream, upstream = way.ends
        with between(way.row, way.protocols.split("-"), ports[upstream], folder, options.weft) as port:
            lines = call(client, cases, [*extra, "--target", f"127.0.0.1:{port}"])
    finally:
        started.stop()
    for line in lines:
        must_be_read(way, line)
    failed = [line for line in lines if not line["passed"]]
    passed = f"{len(lines) - len(failed)} of {len(lines)} cases"
    print(f"{'FAILED' if failed else 'passed':<7} {way.name:<24} {name:<20} {passed}", flush=True)
    for line in failed:
        print(f"        {line['case']}: {line['error']}", flush=True)
    for log in sorted(folder.glob("*.log")):
        if failed and log.stat().st_size > 0:
            print(f"        {log.name}: {log.read_text(errors='replace')[-2000:]}", flush=True)
    return len(failed)


def must_be_read(way, line):
    """Fails the case `get` of a proxy that handed the bytes on unread: each adds its name, the one behind first."""
    wanted = list(reversed(way.row))
    if line["case"] == "get" and line["passed"] and line["saw"]["through"] != wanted:
        line.update(passed=False, error=f"the answer was read by {line['saw']['through']}, not by {wanted}")


def cases_of(client, options):
    """The cases of a client that are asked for."""
    command, environment = client
    words, environment = [*map(str, command), "--list"], {**os.environ, **environment}
    listed = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    cases = [case for case in listed.stdout.split() if options.case is None or case in options.case]
    return [case for case in cases if not (options.brief and case in LARGE_CASES)]


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
    signal.alarm(WAY_TIMEOUT)
    failed = 0
    downstream, upstream = way.ends
    with tempfile.TemporaryDirectory(prefix="weft-through-") as name:
        folder = pathlib.Path(name)
        if "http" in way.kinds:
            http = node("http2/client.js"), ["--protocol", downstream]
            failed += pair(way, "http", HTTP_SERVER, *http, folder, options)
        if "grpc" in way.kinds and downstream == upstream == "h2":
            seconds = ["--seconds", str(options.seconds)]
            for server in GRPC_SERVERS:
                for client in GRPC_CLIENTS:
                    if options.brief and (client, server) != ("python", "node"):
                        continue
                    pair_name = f"grpc {client} → {server}"
                    failed += pair(way, pair_name, GRPC_SERVERS[server], GRPC_CLIENTS[client], seconds, folder, options)
        if "standard" in way.kinds:
            seconds = ["--seconds", str(options.seconds)]
            for name, (server, cases) in STANDARD_SERVERS.items():
                failed += pair(way, f"grpc {name}", server, STANDARD_CLIENT, seconds, folder, options, cases)
    return failed


def chosen(name):
    """The ways that a word after --only stands for."""
    if name == "rows":
        return [way for way in WAYS if "weft" in way.row and len(way.row) > 1]
    return [way for way in WAYS if name in (way.name, way.proxies)]


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--case", type=lambda text: text.split(","))
    parser.add_argument("--brief", action="store_true")
    parser.add_argument("--weft", default=shutil.which("weft-proxy"))
    parser.add_argument("--seconds", type=int, default=2, choices=range(601), metavar="0..600")
    options = parser.parse_args()
    by_name = {way.name: way for way in WAYS}
    if options.list:
        print("\n".join(by_name))
        sys.exit(0)
    names = options.only.split(",") if options.only else list(by_name)
    options.ways, options.ran = [], 0
    for name in names:
        found = chosen(name)
        if not found:
            parser.error(f"--only: must be of rows, {', '.join(by_name)}, got {name!r}")
        options.ways += found
    if any("weft" in way.row for way in options.ways) and not pathlib.Path(options.weft or "").is_file():
        parser.error(f"--weft: must be the program for the ways through weft-proxy, got {options.weft}")
    return options


def main():
    options = read_options()
    # Both leave by way of everything that ends what was started.
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"a way was not over after {WAY_TIMEOUT} s"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    failed = sum(run(way, options) for way in options.ways)
    if options.ran == 0:
        sys.exit(f"--case: none of these ways has one of {', '.join(options.case)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
