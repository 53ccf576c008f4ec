#!/usr/bin/env python3
"""What one request costs weft-proxy in things that do not depend on the machine's mood.

    benches/peers/counts.py [--protocol http1|h2|grpc] [--requests 2000] [--connections 8 | --connections 0] [--functions 25]

User space instructions and allocations (valgrind) and system calls (strace) per request: the difference between a run of
few requests and a run of many, so that what starts and ends a process cancels out. The requests are those of `compare.py`,
one after the other over each connection; with `--connections 0` each goes over a new one, `Connection: close`. Over HTTP/2, on
both sides, each connection has 32 streams that are never without a request. Needs `cargo build --release`, nginx, nghttp2's tools,
valgrind and strace.
"""

import argparse
import collections
import os
import pathlib
import re
import signal
import socket
import tempfile

import loads
import proxies

FEW = 200
HEAD = "GET /some/path?query=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n" + "".join(
    f"{name}: {value}\r\n" for name, value in loads.HEADERS.items()
)
REQUEST = (HEAD + "\r\n").encode()
LAST_REQUEST = (HEAD + "Connection: close\r\n\r\n").encode()
# The origin's answer ends with its body, which holds nothing else.
LAST = b"x" * 1024


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def exchange(port, requests, connections):
    """Sends so many requests, in rounds of one on each connection, or each on its own."""
    held = [connect(port) for _ in range(connections)]
    for number in range(requests):
        if held:
            ask(held[number % connections], REQUEST)
            continue
        with connect(port) as stream:
            ask(stream, LAST_REQUEST)
            if stream.recv(1):
                raise SystemExit("more than one answer")
    for stream in held:
        stream.close()


def ask(stream, request):
    stream.sendall(request)
    answer = b""
    while not answer.endswith(LAST):
        part = stream.recv(65536)
        if not part:
            raise SystemExit(f"closed after {answer[:200]!r}")
        answer += part
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"answered {answer[:200]!r}")


def end(proxy):
    """Asks the proxy itself to stop, and waits for the tool around it."""
    os.kill(proxy.pids()[-1], signal.SIGTERM)
    proxy.child.wait(60)


def origin(folder, protocol):
    """What answers, and the kind of bootstrap that leads to it."""
    if protocol == "http1":
        return (*proxies.origin(folder), "http")
    return (*proxies.http2_origin(folder, *loads.origin_options(protocol == "grpc")), "h2")


def run(folder, tool, requests, options):
    """One life of the proxy under a tool, with so many requests in it."""
    server, upstream, kind = origin(folder, options.protocol)
    try:
        port = proxies.free_port()
        config = proxies.bootstrap(folder, "weft", kind, port, upstream)
        command = [*tool, proxies.TARGET / "release/weft-proxy", "--bootstrap", config, "--concurrency", "1"]
        command += ["--log-level", "warn", "--metrics-listen", f"127.0.0.1:{proxies.free_port()}"]
        log = folder / "tool.log"
        proxy = proxies.Process(command, port, None, log)
        try:
            if options.protocol == "http1":
                exchange(port, requests, options.connections)
            else:
                load = loads.Http2Load(folder, options.protocol == "grpc")
                load.exactly(port, requests, options.connections)
        finally:
            end(proxy)
        return log.read_text(errors="replace")
    finally:
        server.stop()


def twice(folder, tool, options, read):
    """What `read` finds after few and after many requests."""
    found = []
    for requests in (FEW, FEW + options.requests):
        found.append(read(run(folder, tool, requests, options)))
    return found


def callgrind(folder, options):
    """Instructions per request, in all and by function."""
    out = folder / "callgrind.out"
    tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    few, many = twice(folder, tool, options, lambda _: costs(out))
    by_function = {name: (cost - few.get(name, 0)) / options.requests for name, cost in many.items()}
    return (sum(many.values()) - sum(few.values())) / options.requests, by_function


def costs(out):
    """Instructions that each function executed itself, from callgrind's own file."""
    names, total, current, skip = {}, collections.Counter(), "?", False
    for line in out.read_text(errors="replace").splitlines():
        if line.startswith(("fn=", "cfn=")):
            number, _, name = line.partition("=")[2].partition(" ")
            name = names.setdefault(number, name)
            if line.startswith("fn="):
                current = name
        elif line.startswith("calls="):
            skip = True
        elif re.match(r"[+\-*\d]", line):
            if not skip:
                total[current] += int(line.split()[1])
            skip = False
    return total


def allocations(log):
    found = re.search(r"total heap usage: ([\d,]+) allocs, [\d,]+ frees, ([\d,]+) bytes", log)
    return tuple(int(number.replace(",", "")) for number in found.groups())


def system_calls(summary):
    rows = (line.split() for line in summary.read_text().splitlines())
    return {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=("http1", "h2", "grpc"), default="http1")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--functions", type=int, default=25)
    options = parser.parse_args()
    if options.protocol != "http1" and options.connections < 1:
        parser.error("--connections: must be at least 1 over HTTP/2")
    with tempfile.TemporaryDirectory(prefix="weft-counts-") as name:
        folder = pathlib.Path(name)
        summary = folder / "strace.txt"
        tool = ["strace", "-f", "-c", "-o", summary]
        few, many = twice(folder, tool, options, lambda _: system_calls(summary))
        per_request = {call: (count - few.get(call, 0)) / options.requests for call, count in many.items()}
        calls = sorted(((count, call) for call, count in per_request.items() if count >= 0.005), reverse=True)
        print(f"system calls per request: {sum(per_request.values()):.2f}")
        print("  " + ", ".join(f"{call} {count:.2f}" for count, call in calls))
        few, many = twice(folder, ["valgrind"], options, allocations)
        blocks, size = ((after - before) / options.requests for before, after in zip(few, many))
        print(f"allocations per request: {blocks:.2f}, {size:.0f} bytes")
        instructions, by_function = callgrind(folder, options)
        print(f"instructions per request, in user space: {instructions:.0f}")
        for function, count in sorted(by_function.items(), key=lambda item: -item[1])[: options.functions]:
            print(f"  {count:8.0f}  {function[:150]}")


if __name__ == "__main__":
    main()
