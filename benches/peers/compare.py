#!/usr/bin/env python3
"""Runs the same work through weft-proxy, Envoy, HAProxy and nginx, one worker each, and prints CPU time per request.

    benches/peers/compare.py [--seconds 10] [--only weft,envoy] [--cases http1,h2,…] [--json FILE]

weft-proxy and Envoy run the same bootstrap file. In the cases of HTTP/2 and gRPC both sides speak HTTP/2 without TLS; nginx
can do so upstream by its gRPC module alone, which is used for both. Needs `cargo build --release` and `tests/peers/setup.sh`. CPU time is
what the kernel accounts to the proxy's process; the machine's speed cancels out in the ratios. All traffic stays on
loopback, every case is bounded in time, and only processes started here are ended.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import idle
import pairs
from loads import Http2Load, must_be_read, origin_options, wrk
from proxies import LOAD_CORE, PROXIES, TARGET, Unavailable, http2_origin, origin


def http_case(start, folder, seconds, extra):
    """CPU microseconds per request."""
    server, upstream = origin(folder)
    try:
        proxy, port = start(folder, "http", upstream)
        try:
            wrk(port, 1, extra)
            before = proxy.cpu_seconds()
            requests, errors = wrk(port, seconds, extra)
            spent = proxy.cpu_seconds() - before
        finally:
            proxy.stop()
    finally:
        server.stop()
    return {"value": spent / max(requests, 1) * 1e6, "requests": requests, "errors": errors}


def http2_case(start, folder, seconds, grpc):
    """CPU microseconds per request, HTTP/2 on both sides; and how much of its core the proxy used."""
    server, upstream = http2_origin(folder, *origin_options(grpc))
    try:
        proxy, port = start(folder, "h2", upstream)
        try:
            load = Http2Load(folder, grpc)
            must_be_read(start.__name__, load.check(port))
            load.run(port, 1)
            before = proxy.cpu_seconds()
            requests, errors = load.run(port, seconds)
            spent = proxy.cpu_seconds() - before
        finally:
            proxy.stop()
    finally:
        server.stop()
    return {"value": spent / max(requests, 1) * 1e6, "requests": requests, "busy": spent / seconds, "errors": errors}


def pair_case(pairs_of, kind, start, folder, seconds):
    """CPU microseconds per request of two proxies with mTLS between them, both together."""
    load = Http2Load(folder, grpc=False) if kind == "h2" else None
    server, upstream = http2_origin(folder) if load else origin(folder)
    run = load.run if load else lambda port, seconds: wrk(port, seconds, {})
    try:
        pair, port = pairs_of[start.__name__](folder, kind, upstream)
        try:
            if load:
                load.check(port)
            run(port, 1)
            before = pair.cpu_seconds()
            requests, errors = run(port, seconds)
            spent = pair.cpu_seconds() - before
        finally:
            pair.stop()
    finally:
        server.stop()
    return {"value": spent / max(requests, 1) * 1e6, "requests": requests, "errors": errors}


def tcp_case(start, folder, seconds):
    """Gigabytes per CPU second, one way over eight connections."""
    helper = TARGET / "release/tcp-load"
    source = subprocess.Popen(["taskset", "-c", str(LOAD_CORE), helper, "source"], stdout=subprocess.PIPE, text=True)
    try:
        upstream = int(source.stdout.readline())
        proxy, port = start(folder, "tcp", upstream)
        try:
            before = proxy.cpu_seconds()
            command = ["taskset", "-c", str(LOAD_CORE), str(helper), "sink", str(port), str(seconds)]
            moved = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            spent = proxy.cpu_seconds() - before
        finally:
            proxy.stop()
    finally:
        source.kill()
        source.wait()
    return {"value": moved / max(spent, 1e-6) / 1e9, "bytes": moved}


def idle_case(start, folder, kind, count):
    """KiB of resident memory: idle, and per idle connection that has seen one request."""
    server, upstream = http2_origin(folder) if kind == "h2" else origin(folder)
    connect = idle.http2 if kind == "h2" else idle.http1
    held = []
    try:
        proxy, port = start(folder, kind, upstream)
        try:
            before = proxy.rss_kib()
            if kind == "h2":
                must_be_read(start.__name__, Http2Load(folder, grpc=False).check(port))
            held += [connect(port) for _ in range(count)]
            time.sleep(1)
            full = proxy.rss_kib()
            closed = sum(not idle.is_open(connection) for connection in held)
            if closed:
                raise SystemExit(f"{start.__name__} closed {closed} of {count} idle connections")
        finally:
            for connection in held:
                connection.close()
            proxy.stop()
    finally:
        server.stop()
    return {"idle_mib": before / 1024, "value": (full - before) / count, "connections": count}


CASES = {
    "http1": ("CPU µs per HTTP/1.1 request, keep-alive", lambda s, f, t: http_case(s, f, t, {})),
    "connect": ("CPU µs per request on a new connection", lambda s, f, t: http_case(s, f, t, {"connection": "close"})),
    "h2": ("CPU µs per HTTP/2 request, 8 connections of 32 streams", lambda s, f, t: http2_case(s, f, t, grpc=False)),
    "grpc": ("CPU µs per unary gRPC call, 8 connections of 32 streams", lambda s, f, t: http2_case(s, f, t, grpc=True)),
    "mtls": (
        "CPU µs per HTTP/1.1 request through two proxies, HTTP/2 over mTLS between them",
        lambda s, f, t: pair_case(pairs.PAIRS, "http", s, f, t),
    ),
    "sidecars": (
        "CPU µs per HTTP/1.1 request through two proxies as above, of Weft with heads that keep their spelling",
        lambda s, f, t: pair_case(pairs.MESH, "http", s, f, t),
    ),
    "mtls-h2": (
        "CPU µs per HTTP/2 request through two proxies, HTTP/2 over mTLS between them",
        lambda s, f, t: pair_case(pairs.PAIRS, "h2", s, f, t),
    ),
    "tcp": ("GB per CPU second, plain TCP", tcp_case),
    "idle": ("KiB per idle connection", lambda s, f, t: idle_case(s, f, "http", 2000)),
    "idle-h2": ("KiB per idle HTTP/2 connection", lambda s, f, t: idle_case(s, f, "h2", 1000)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, choices=range(1, 121), metavar="1..120")
    parser.add_argument("--only", default=",".join(PROXIES))
    parser.add_argument("--cases", default=",".join(CASES), help="which of %(default)s")
    parser.add_argument("--json")
    options = parser.parse_args()
    results = {}
    for case in options.cases.split(","):
        title, run = CASES[case]
        results[case] = {}
        print(f"\n{title}")
        for name in options.only.split(","):
            try:
                with tempfile.TemporaryDirectory(prefix="weft-compare-") as folder:
                    result = run(PROXIES[name], pathlib.Path(folder), options.seconds)
            except Unavailable as reason:
                print(f"  {name:<8} {reason}", flush=True)
                continue
            results[case][name] = result
            base = results[case].get("envoy")
            ratio = f"{result['value'] / base['value']:.2f} × Envoy" if base else ""
            rest = ", ".join(f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}"
                             for key, value in result.items() if key != "value" and value is not None)
            print(f"  {name:<8} {result['value']:9.2f}   {ratio:<14} {rest}", flush=True)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
