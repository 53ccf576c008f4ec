"""What stands between two peers: Envoy, weft-proxy, HAProxy, nginx, or some of these in a row. How each is configured,
started and ended. Each adds its name to the field `through` of an answer, so that one that hands bytes on unread is found.
"""

import contextlib
import getpass
import json
import os
import pathlib
import queue
import random
import shutil
import socket
import subprocess
import sys
import threading
import time

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "weft"
PEERS = pathlib.Path(os.environ.get("WEFT_PEERS", CACHE / "peers"))
START_TIMEOUT = 20  # seconds


class Child:
    """A process that was started here, and is ended here."""

    def __init__(self, command, log, environment=None, output=None):
        self.log = open(log, "w+b")
        self.output = open(output, "wb") if output else None
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=self.output or subprocess.PIPE,
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
        for file in (self.process.stdin, self.process.stdout, self.output, self.log):
            if file:
                file.close()


def free_port():
    """A port that nobody has now. It is not of those that the system gives to whoever connects: one of these could be gone
    before the program that is to listen on it has started."""
    for _ in range(100):
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    sys.exit("no port from 15000 to 31999 is free")


def program(name):
    """A program on the path, or among the daemons, which are not on everybody's."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    return found or sys.exit(f"{name} is not there: run {pathlib.Path(__file__).parent}/setup.sh")


def bootstrap(name, listen, admin, protocol, upstream):
    """A proxy from one port to another, as a bootstrap that Envoy and weft-proxy both read. It speaks `protocol` upstream."""
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "envoy.extensions.filters.http.router.v3.Router"
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    typed = lambda name, **fields: {"@type": f"type.googleapis.com/{name}", **fields}
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    http2 = {"http2_protocol_options": {"allow_connect": True}}
    http1 = {"http_protocol_options": {"enable_trailers": True}}
    route = {"cluster": "upstream", "timeout": "0s"}
    routes = [{"match": {"prefix": "/"}, "route": route}]
    through = [{"header": {"key": "through", "value": name}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes, "response_headers_to_add": through}]
    http = typed(
        manager,
        stat_prefix="http",
        codec_type="AUTO",
        **http2,
        **http1,
        upgrade_configs=[{"upgrade_type": "websocket"}],
        proxy_100_continue=True,
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": typed(router)}],
        route_config={"name": "routes", "virtual_hosts": hosts},
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}
    endpoint = {"endpoint": {"address": address(upstream)}}
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            options: typed(options, explicit_http_config=http2 if protocol == "h2" else http1)
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


def write_bootstrap(name, listen, protocols, upstream, folder):
    config = folder / f"{name}.json"
    config.write_text(json.dumps(bootstrap(name, listen, free_port(), protocols[1], upstream)))
    return config


def envoy(listen, protocols, upstream, folder, weft):
    config = write_bootstrap("envoy", listen, protocols, upstream, folder)
    return [PEERS / "envoy", "-c", config, "--concurrency", "1", "-l", "error", "--disable-hot-restart"]


def weft_proxy(listen, protocols, upstream, folder, weft):
    config = write_bootstrap("weft", listen, protocols, upstream, folder)
    command = [weft, "--bootstrap", config, "--concurrency", "1", "--log-level", "warn"]
    return [*command, "--metrics-listen", f"127.0.0.1:{free_port()}"]


def haproxy(listen, protocols, upstream, folder, weft):
    downstream, upstream_too = ("proto h2" if protocol == "h2" else "" for protocol in protocols)
    config = folder / "haproxy.cfg"
    config.write_text(
        f"""global
  nbthread 1
  maxconn 1000
defaults
  mode http
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  http-reuse always
listen in
  bind 127.0.0.1:{listen} {downstream}
  http-response add-header through haproxy
  server upstream 127.0.0.1:{upstream} {upstream_too}
"""
    )
    return [program("haproxy"), "-db", "-f", config]


def nginx(listen, protocols, upstream, folder, weft):
    """Of HTTP/2 upstream nginx knows what gRPC needs."""
    forward = (
        f"grpc_pass grpc://127.0.0.1:{upstream}; grpc_set_header Host $host; grpc_read_timeout 1h; grpc_send_timeout 1h;"
        if protocols[1] == "h2"
        else f"""proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1; proxy_buffering off;
      proxy_request_buffering off; proxy_set_header Host $host; proxy_set_header Connection $link;
      proxy_set_header Upgrade $http_upgrade;"""
    )
    http2 = "http2" if protocols[0] == "h2" else ""
    return nginx_main(folder, f"listen 127.0.0.1:{listen} {http2}; add_header through nginx always; location / {{ {forward} }}")


def nginx_main(folder, server):
    """nginx with one server, in the foreground."""
    temp = " ".join(f"{name}_temp_path {folder}/n_{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; pid {folder}/nginx.pid; error_log stderr error; worker_processes 1; user {getpass.getuser()};
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0; large_client_header_buffers 4 32k; {temp}
  map $http_upgrade $link {{ default upgrade; "" ""; }}
  server {{ {server} }}
}}
"""
    )
    return [program("nginx"), "-c", config, "-e", "stderr"]


PROXIES = {"envoy": envoy, "weft": weft_proxy, "haproxy": haproxy, "nginx": nginx}


@contextlib.contextmanager
def between(proxies, protocols, upstream, folder, weft):
    """Starts proxies in a row, the one behind first; gives the port to go to, which without any is `upstream`. There is one
    protocol more than there are proxies."""
    with contextlib.ExitStack() as started:
        for index, name in reversed(list(enumerate(proxies))):
            own = folder / f"{index}-{name}"
            own.mkdir(exist_ok=True)
            listen = free_port()
            command = PROXIES[name](listen, protocols[index : index + 2], upstream, own, weft)
            proxy = Child(command, folder / f"{index}-{name}.log")
            started.callback(proxy.stop)
            proxy.wait_for(listen)
            upstream = listen
        yield upstream
