#!/usr/bin/env python3
"""A mesh of many services, of which a sidecar uses few: memory, first requests, start from disk, a change to many proxies.

    benches/peers/footprint.py [--services 10000] [--used 5] [--proxies 200]

Needs `cargo build --release`. Starts `weft serve` over a directory of generated manifests, sidecars and one origin, all on
loopback; bounded in time; ends only what it started.
"""

import argparse
import http.client
import http.server
import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


# Below those that the kernel gives to clients, which are many here.
PORTS = itertools.count(20_000)


def free_port():
    for port in PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


class Origin(http.server.ThreadingHTTPServer):
    """Answers everything with four bytes, at once."""

    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def do_GET(self):
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok\r\n")

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Child:
    """A process that was started here, and is ended here."""

    def __init__(self, *command):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def rss_mb(self):
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if line.startswith(("VmRSS", "RssAnon")))
        return tuple(int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "RssAnon"))

    def wait_for(self, port, path):
        """Seconds until `path` is answered with 200."""
        began = time.monotonic()
        while time.monotonic() < began + 60:
            if self.process.poll() is not None:
                break
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return time.monotonic() - began
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.001)
        self.log.seek(0)
        sys.exit(f"{self.process.args} does not answer {path}:\n{self.log.read()[-3000:].decode(errors='replace')}")

    def stop(self, hard=False):
        if self.process.poll() is None:
            (self.process.kill if hard else self.process.terminate)()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def service(name, port, address="127.0.0.1"):
    return f"""apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {{name: {name}}}
spec:
  ports: [{{port: 80, appProtocol: http}}]
  discovery: {{static: {{endpoints: [{{address: {address}, port: {port}}}]}}}}
---
"""


def get(port, host):
    """Milliseconds of one request on a new connection."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/", headers={"host": host})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status != 200:
        sys.exit(f"{host}: {response.status} {body[:300]!r}")
    return (time.monotonic() - began) * 1e3


def sidecar(folder, xds, number=0):
    ports = {name: free_port() for name in ("outbound", "inbound", "admin", "metrics")}
    command = [TARGET / "release/weft-proxy", "--control-plane", f"http://127.0.0.1:{xds}", "--service", f"caller-{number}"]
    command += ["--concurrency", "1", "--state-dir", folder / f"state-{number}", "--log-level", "warn"]
    for name, port in ports.items():
        command += [f"--{name}-listen", f"127.0.0.1:{port}"]
    return Child(*command), ports


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--used", type=int, default=5)
    parser.add_argument("--proxies", type=int, default=200)
    options = parser.parse_args()
    children = []
    with tempfile.TemporaryDirectory(prefix="weft-footprint-") as name:
        try:
            measure(pathlib.Path(name), options, children)
        finally:
            for child in children:
                child.stop(hard=True)


def measure(folder, options, children):
    origin = Origin()
    manifests = folder / "manifests"
    manifests.mkdir()
    text = "".join(service(f"service-{number}", origin.server_port) for number in range(options.services))
    (manifests / "services.yaml").write_text(text)
    xds, api = free_port(), free_port()
    serve = [TARGET / "release/weft", "serve", "--config", manifests, "--store", folder / "store.redb"]
    serve += ["--xds-listen", f"127.0.0.1:{xds}", "--api-listen", f"127.0.0.1:{api}", "--secure-listen", "127.0.0.1:0"]
    control_plane = Child(*serve)
    children.append(control_plane)
    print(f"control plane of {options.services} services ready after {control_plane.wait_for(api, '/readyz'):.2f} s")

    proxy, ports = sidecar(folder, xds)
    children.append(proxy)
    proxy.wait_for(ports["metrics"], "/ready")
    resident, own = proxy.rss_mb()
    print(f"idle proxy: {resident:.1f} MB resident, {own:.1f} MB of it its own")
    cold, warm = [], []
    for number in range(options.used):
        host = f"service-{number * 7}"
        cold.append(get(ports["outbound"], host))
        warm.append(sorted(get(ports["outbound"], host) for _ in range(50))[25])
    extra = [c - w for c, w in zip(cold, warm)]
    print(f"first request to a service: {max(extra):.1f} ms more than a later one at most "
          f"(cold {', '.join(f'{c:.1f}' for c in cold)} ms; warm {max(warm):.2f} ms)")
    resident, own = proxy.rss_mb()
    print(f"proxy that uses {options.used}: {resident:.1f} MB resident, {own:.1f} MB of it its own")
    resident, own = control_plane.rss_mb()
    print(f"control plane: {resident:.0f} MB resident")

    time.sleep(1.5)  # the tables are written to disk a second after they have changed
    control_plane.stop(hard=True)
    for number in range(options.used):
        get(ports["outbound"], f"service-{number * 7}")
    print("control plane killed: the services in use answer")
    proxy.stop()
    proxy, ports = sidecar(folder, xds)
    children.append(proxy)
    ready = proxy.wait_for(ports["metrics"], "/ready")
    for number in range(options.used):
        get(ports["outbound"], f"service-{number * 7}")
    print(f"proxy started without a control plane: ready after {ready * 1e3:.0f} ms, the services in use answer")

    control_plane = Child(*serve)
    children.append(control_plane)
    control_plane.wait_for(api, "/readyz")
    fleet = []
    for number in range(1, options.proxies):
        fleet.append(sidecar(folder, xds, number))
        children.append(fleet[-1][0])
    for child, ports_of in fleet:
        child.wait_for(ports_of["metrics"], "/ready")
        get(ports_of["outbound"], "service-0")
    get(ports["outbound"], "service-0")
    weft = [TARGET / "release/weft", "--server", f"http://127.0.0.1:{api}"]
    (folder / "route.yaml").write_text(ROUTE)
    took = []
    for number in range(5):
        (folder / "route.yaml").write_text(ROUTE.replace("NUMBER", str(number)))
        began = time.monotonic()
        done = subprocess.run([*weft, "apply", "-f", folder / "route.yaml", "-o", "json"], capture_output=True, text=True)
        took.append(time.monotonic() - began)
        if done.returncode != 0:
            sys.exit(f"weft apply: {done.stderr}")
        result = json.loads(done.stdout)
    print(f"weft apply to {options.proxies} proxies: {', '.join(f'{t * 1e3:.0f}' for t in took)} ms; {json.dumps(result[-1])[:200]}")


ROUTE = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split}
spec:
  parentRefs: [{group: mesh.weft.dev, kind: MeshService, name: service-0, port: 80}]
  rules:
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-change, value: "NUMBER"}]}}]
    backendRefs: [{group: mesh.weft.dev, kind: MeshService, name: service-1, port: 80}]
"""

if __name__ == "__main__":
    main()
