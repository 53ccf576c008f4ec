#!/usr/bin/env python3
"""Runs the same work through weft-proxy, Envoy, HAProxy and nginx, one worker each, and prints CPU time per request.

    benches/peers/compare.py [--seconds 10] [--only weft,envoy] [--cases http1,connect,tcp,idle] [--json FILE]

weft-proxy and Envoy run the same bootstrap file. Needs `cargo build --release` and `tests/peers/setup.sh`. CPU time is
what the kernel accounts to the proxy's process; the machine's speed cancels out in the ratios. All traffic stays on
loopback, every case is bounded in time, and only processes started here are ended.
"""

import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from loads import wrk
from proxies import PROXIES, TARGET, origin


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


def tcp_case(start, folder, seconds):
    """Gigabytes per CPU second, one way over eight connections."""
    helper = TARGET / "release/tcp-load"
    source = subprocess.Popen(["taskset", "-c", "1", helper, "source"], stdout=subprocess.PIPE, text=True)
    try:
        upstream = int(source.stdout.readline())
        started = start(folder, "tcp", upstream)
        if started is None:
            return None
        proxy, port = started
        try:
            before = proxy.cpu_seconds()
            command = ["taskset", "-c", "1", str(helper), "sink", str(port), str(seconds)]
            moved = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            spent = proxy.cpu_seconds() - before
        finally:
            proxy.stop()
    finally:
        source.kill()
        source.wait()
    return {"value": moved / max(spent, 1e-6) / 1e9, "bytes": moved}


def idle_case(start, folder, count=2000):
    """KiB of resident memory: idle, and per idle connection that has seen one request."""
    server, upstream = origin(folder)
    held = []
    try:
        proxy, port = start(folder, "http", upstream)
        try:
            idle = proxy.rss_kib()
            for _ in range(count):
                connection = socket.create_connection(("127.0.0.1", port))
                connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                seen = b""
                while b"x" * 1024 not in seen:
                    piece = connection.recv(65536)
                    if not piece:
                        sys.exit(f"the proxy closed a connection: {seen[:300]!r}")
                    seen += piece
                held.append(connection)
            time.sleep(1)
            full = proxy.rss_kib()
        finally:
            for connection in held:
                connection.close()
            proxy.stop()
    finally:
        server.stop()
    return {"idle_mib": idle / 1024, "value": (full - idle) / count, "connections": count}


CASES = {
    "http1": ("CPU µs per HTTP/1.1 request, keep-alive", lambda s, f, t: http_case(s, f, t, {})),
    "connect": ("CPU µs per request on a new connection", lambda s, f, t: http_case(s, f, t, {"connection": "close"})),
    "tcp": ("GB per CPU second, plain TCP", tcp_case),
    "idle": ("KiB per idle connection", lambda s, f, t: idle_case(s, f)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, choices=range(1, 121), metavar="1..120")
    parser.add_argument("--only", default=",".join(PROXIES))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--json")
    options = parser.parse_args()
    results = {}
    for case in options.cases.split(","):
        title, run = CASES[case]
        results[case] = {}
        print(f"\n{title}")
        for name in options.only.split(","):
            with tempfile.TemporaryDirectory(prefix="weft-compare-") as folder:
                result = run(PROXIES[name], pathlib.Path(folder), options.seconds)
            if result is None:
                print(f"  {name:<8} not available here")
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
