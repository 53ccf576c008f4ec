#!/usr/bin/env python3
"""Runs the same work through weft-proxy, Envoy, HAProxy and nginx, one worker each, and prints CPU time per request.

    benches/peers/compare.py [--seconds 10] [--only weft,envoy] [--cases http1,connect,tcp,idle] [--json FILE]

weft-proxy and Envoy run the same bootstrap file. Needs `cargo build --release` and `tests/peers/setup.sh`. CPU time is
what the kernel accounts to the proxy's process; the machine's speed cancels out in the ratios. All traffic stays on
loopback, every case is bounded in time, and only processes started here are ended.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "weft"
PEERS = pathlib.Path(os.environ.get("WEFT_PEERS", CACHE / "peers"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TICK = os.sysconf("SC_CLK_TCK")

# A request as a browser or an SDK sends it: 15 fields with those that wrk adds.
HEADERS = {
    "user-agent": "compare/1.0 (loopback) like a client of some weight",
    "accept": "application/json, text/plain, */*",
    "accept-encoding": "gzip, deflate, br",
    "accept-language": "en-GB,en;q=0.9,de;q=0.7",
    "authorization": "Bearer 0123456789abcdef0123456789abcdef0123456789abcdef",
    "cache-control": "no-cache",
    "content-type": "application/json",
    "cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "referer": "http://localhost/some/page?with=query",
    "x-request-id": "7d1f0d9e-3b0c-4f60-9d3a-0a1b2c3d4e5f",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "x-tenant": "tenant-0042",
    "x-client-version": "2026.11.1",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """One process that was started here, and is ended here."""

    def __init__(self, command, port, core, log):
        taskset = ["taskset", "-c", str(core)] if core is not None and shutil.which("taskset") else []
        self.log = open(log, "wb")
        self.child = subprocess.Popen(
            taskset + [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        self.wait_for(port, log)

    def wait_for(self, port, log):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.child.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        sys.exit(f"{self.child.args} does not listen on {port}:\n{pathlib.Path(log).read_text(errors='replace')[-3000:]}")

    def pids(self):
        """The process and its children (nginx and HAProxy work in one)."""
        found, queue = [], [self.child.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                queue.extend(int(child) for child in task.read_text().split())
        return found

    def cpu_seconds(self):
        total = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def rss_kib(self):
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
        return total

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.log.close()


def origin(folder):
    """nginx, answering every request with 1 KiB."""
    port = free_port()
    config = folder / "origin.conf"
    body = "x" * 1024
    config.write_text(
        f"""daemon off; pid {folder}/origin.pid; error_log stderr error; worker_processes 1;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/o1; proxy_temp_path {folder}/o2;
  fastcgi_temp_path {folder}/o3; uwsgi_temp_path {folder}/o4; scgi_temp_path {folder}/o5;
  server {{ listen 127.0.0.1:{port} backlog=8192; location / {{ default_type text/plain; return 200 "{body}"; }} }}
}}"""
    )
    return Process(["nginx", "-c", config, "-e", "stderr"], port, 1, folder / "origin.log"), port


def bootstrap(folder, name, kind, listen, upstream):
    """One Envoy bootstrap for Envoy and for weft-proxy."""
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    hcm = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "http_filters": [router],
        "route_config": {
            "name": "routes",
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "origin"}}]}
            ],
        },
    }
    tcp = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": "origin",
    }
    network_filter = (
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": hcm}
        if kind == "http"
        else {"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp}
    )
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    limits = [{"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}]
    document = {
        "admin": {"address": address(free_port())},
        "static_resources": {
            "listeners": [{"name": "in", "address": address(listen), "filter_chains": [{"filters": [network_filter]}]}],
            "clusters": [
                {
                    "name": "origin",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "circuit_breakers": {"thresholds": limits},
                    "load_assignment": {
                        "cluster_name": "origin",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}],
                    },
                }
            ],
        },
    }
    path = folder / f"{name}-{kind}.json"
    path.write_text(json.dumps(document))
    return path


def weft(folder, kind, upstream):
    port = free_port()
    config = bootstrap(folder, "weft", kind, port, upstream)
    command = [TARGET / "release/weft-proxy", "--bootstrap", config, "--concurrency", "1", "--log-level", "warn"]
    command += ["--metrics-listen", f"127.0.0.1:{free_port()}"]
    return Process(command, port, 0, folder / "weft.log"), port


def envoy(folder, kind, upstream):
    port = free_port()
    config = bootstrap(folder, "envoy", kind, port, upstream)
    command = [PEERS / "envoy", "-c", config, "--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    return Process(command, port, 0, folder / "envoy.log"), port


def haproxy(folder, kind, upstream):
    port = free_port()
    config = folder / f"haproxy-{kind}.cfg"
    config.write_text(
        f"""global
  nbthread 1
  maxconn 4000
defaults
  mode {kind}
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  {"option http-keep-alive" if kind == "http" else "option splice-auto"}
  {"http-reuse always" if kind == "http" else ""}
listen in
  bind 127.0.0.1:{port}
  server origin 127.0.0.1:{upstream}
"""
    )
    return Process(["haproxy", "-db", "-f", config], port, 0, folder / "haproxy.log"), port


def nginx(folder, kind, upstream):
    port = free_port()
    temp = " ".join(f"{name}_temp_path {folder}/p_{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    http = f"""http {{ access_log off; keepalive_requests 100000000; {temp}
  upstream origin {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=8192; location / {{
    proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }} }} }}"""
    stream = f"""stream {{ server {{ listen 127.0.0.1:{port} backlog=8192; proxy_pass 127.0.0.1:{upstream}; }} }}"""
    modules = sorted(pathlib.Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so")) if kind == "tcp" else []
    if kind == "tcp" and not modules:
        return None
    load = "".join(f"load_module {module};\n" for module in modules)
    config = folder / f"nginx-{kind}.conf"
    config.write_text(
        f"""{load}daemon off; pid {folder}/nginx.pid; error_log stderr error; worker_processes 1;
events {{ worker_connections 8192; }}
{http if kind == "http" else stream}"""
    )
    return Process(["nginx", "-c", config, "-e", "stderr"], port, 0, folder / "nginx.log"), port


PROXIES = {"envoy": envoy, "weft": weft, "haproxy": haproxy, "nginx": nginx}


def wrk(port, seconds, extra):
    command = ["taskset", "-c", "1", "wrk", "-t", "1", "-c", "64", "-d", f"{seconds}s"]
    for name, value in {**HEADERS, **extra}.items():
        command += ["-H", f"{name}: {value}"]
    output = subprocess.run(command + [f"http://127.0.0.1:{port}/some/path?query=1"], capture_output=True, text=True, check=True)
    requests = int(re.search(r"(\d+) requests in", output.stdout).group(1))
    errors = re.search(r"(Non-2xx|Socket errors).*", output.stdout)
    return requests, errors.group(0) if errors else None


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
