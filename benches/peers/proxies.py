"""The proxies that are compared, and the origin behind them: how each is configured, started, measured and ended."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "weft"
PEERS = pathlib.Path(os.environ.get("WEFT_PEERS", CACHE / "peers"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TICK = os.sysconf("SC_CLK_TCK")

# The proxy has a core of its own, and so has the load. The origin has what is left, or shares with the load.
PROXY_CORE, LOAD_CORE = 0, 1
ORIGIN_CORES = sorted(os.sched_getaffinity(0) - {PROXY_CORE, LOAD_CORE}) or [LOAD_CORE]


class Unavailable(Exception):
    """This cannot be measured, and why."""


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
    return Process(["nginx", "-c", config, "-e", "stderr"], port, LOAD_CORE, folder / "origin.log"), port


def http2_origin(folder, *options):
    """nghttpd, answering with the files of a folder, which it gives with its port: 1 KiB for `/` and for `/some/path`, and a
    gRPC message of as much for `/weft.test.Echo/Unary.grpc`."""
    port, files = free_port(), folder / "files"
    for name, content in (
        ("index.html", b"x" * 1024),
        ("some/path", b"x" * 1024),
        ("weft.test.Echo/Unary.grpc", b"\0" + (1019).to_bytes(4, "big") + b"x" * 1019),
    ):
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_bytes(content)
    types = folder / "mime.types"
    types.write_text("application/grpc grpc\n")
    command = ["nghttpd", "--no-tls", "--address=127.0.0.1", f"--htdocs={files}", f"--workers={len(ORIGIN_CORES)}"]
    command += ["--max-concurrent-streams=1000", f"--mime-types-file={types}", *options, str(port)]
    return Process(command, port, ",".join(map(str, ORIGIN_CORES)), folder / "origin.log"), port


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
        if kind != "tcp"
        else {"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp}
    )
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    limits = [{"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}]
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}}}
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
                    "typed_extension_protocol_options": {options: http2} if kind == "h2" else {},
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
    return Process(command, port, PROXY_CORE, folder / "weft.log"), port


def envoy(folder, kind, upstream):
    port = free_port()
    config = bootstrap(folder, "envoy", kind, port, upstream)
    command = [PEERS / "envoy", "-c", config, "--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    return Process(command, port, PROXY_CORE, folder / "envoy.log"), port


def haproxy(folder, kind, upstream):
    port = free_port()
    http2 = "proto h2" if kind == "h2" else ""
    config = folder / f"haproxy-{kind}.cfg"
    config.write_text(
        f"""global
  nbthread 1
  maxconn 4000
defaults
  mode {"tcp" if kind == "tcp" else "http"}
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  {"option splice-auto" if kind == "tcp" else "option http-keep-alive"}
  {"" if kind == "tcp" else "http-reuse always"}
listen in
  bind 127.0.0.1:{port} {http2}
  server origin 127.0.0.1:{upstream} {http2}
"""
    )
    return Process(["haproxy", "-db", "-f", config], port, PROXY_CORE, folder / "haproxy.log"), port


def nginx(folder, kind, upstream):
    port = free_port()
    temp = " ".join(f"{name}_temp_path {folder}/p_{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    # It speaks HTTP/2 to an upstream for gRPC alone, and then with one request at a time on each connection.
    forward = (
        "grpc_pass grpc://origin; grpc_set_header Host $host;"
        if kind == "h2"
        else 'proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'
    )
    http = f"""http {{ access_log off; keepalive_requests 100000000; {temp}
  upstream origin {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} {"http2" if kind == "h2" else ""} backlog=8192; location / {{ {forward} }} }} }}"""
    stream = f"""stream {{ server {{ listen 127.0.0.1:{port} backlog=8192; proxy_pass 127.0.0.1:{upstream}; }} }}"""
    modules = sorted(pathlib.Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so")) if kind == "tcp" else []
    if kind == "tcp" and not modules:
        raise Unavailable("its stream module is not installed")
    load = "".join(f"load_module {module};\n" for module in modules)
    config = folder / f"nginx-{kind}.conf"
    config.write_text(
        f"""{load}daemon off; pid {folder}/nginx.pid; error_log stderr error; worker_processes 1;
events {{ worker_connections 8192; }}
{stream if kind == "tcp" else http}"""
    )
    return Process(["nginx", "-c", config, "-e", "stderr"], port, PROXY_CORE, folder / "nginx.log"), port


PROXIES = {"envoy": envoy, "weft": weft, "haproxy": haproxy, "nginx": nginx}
