#!/usr/bin/env python3
"""Two pods with a wire between them, and everything that goes over it looked at: no plain text may.

Runs in a network namespace of its own (`unshare --net capture.py WEFT WEFT_PROXY`), as root: it makes a second one for the called
workload, and a pair of virtual interfaces. Control plane and caller are on the one side. All of it vanishes with its processes.
"""

import contextlib
import http.server
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

NEAR, FAR = "10.77.0.1", "10.77.0.2"
API = "http://127.0.0.1:15080"
ETH_P_ALL = 3
MESH = """
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: web}
spec: {ports: [{port: 80, appProtocol: http}], discovery: {workloads: {selector: {app: web}}}}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: {name: mtls}
spec: {mtls: {mode: STRICT}}
"""
ASKED, ANSWERED, SPOKEN_PLAIN = b"asked-in-secret", b"answered-in-secret", b"spoken-in-plain"


class Application(http.server.BaseHTTPRequestHandler):
    """Says something secret to whoever asks."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("x-answer", ANSWERED.decode())
        self.send_header("content-length", str(len(ANSWERED)))
        self.end_headers()
        self.wfile.write(ANSWERED)

    def log_message(self, *_):
        pass


class Wire:
    """Every frame that goes over an interface."""

    def __init__(self, interface):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((interface, 0))
        self.frames = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            self.frames.append(self.socket.recv(1 << 16))

    def holds(self, what):
        return any(what in frame for frame in list(self.frames))


def run(*command):
    subprocess.run(command, check=True, timeout=30)


def eventually(what, attempt, within=30):
    """Tries until it holds, and gives what it gave."""
    ends, last = time.monotonic() + within, None
    while time.monotonic() < ends:
        try:
            if result := attempt():
                return result
        except OSError as error:
            last = error
        time.sleep(0.1)
    raise SystemExit(f"not within {within} s: {what} ({last})")


def listens(address, port):
    with socket.create_connection((address, port), timeout=1):
        return True


def ask():
    """Through the caller's sidecar."""
    request = urllib.request.Request("http://127.0.0.1:15001/" + ASKED.decode(), data=ASKED, method="POST")
    request.add_header("Host", "web")
    request.add_header("x-asked", ASKED.decode())
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.status == 200 and answer.read() == ANSWERED


def ask_in_plain():
    """Past the caller's sidecar, in plain, straight at the workload's: what it hears."""
    with socket.create_connection((FAR, 15006), timeout=5) as stream:
        stream.sendall(b"GET /" + SPOKEN_PLAIN + b" HTTP/1.1\r\nHost: web\r\n\r\n")
        try:
            return stream.recv(4096)
        except OSError:
            return b""


def main():
    weft, proxy = sys.argv[1:3]
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def start(*command, token=None):
            environment = dict(os.environ, WEFT_LOG_LEVEL="error", **({"WEFT_JOIN_TOKEN": token} if token else {}))
            process = subprocess.Popen(command, env=environment)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        # The other namespace lives as long as this process in it.
        run("ip", "link", "set", "lo", "up")
        holder = start("unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep 600")
        own = os.readlink("/proc/self/ns/net")
        eventually("the other namespace", lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own)
        there = ("nsenter", "--target", str(holder.pid), "--net")
        run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(holder.pid))
        run("ip", "address", "add", NEAR + "/24", "dev", "near")
        run("ip", "link", "set", "near", "up")
        run(*there, "ip", "address", "add", FAR + "/24", "dev", "far")
        run(*there, "ip", "link", "set", "far", "up")
        wire = Wire("near")

        start(
            weft, "serve", "--store", folder / "store.redb", "--ca-dir", folder / "ca", "--xds-listen", "127.0.0.1:15010",
            "--secure-listen", NEAR + ":15012", "--api-listen", "127.0.0.1:15080",
        )
        eventually("the control plane listens", lambda: listens("127.0.0.1", 15080))
        mesh = folder / "mesh.yaml"
        mesh.write_text(MESH)
        run(weft, "--server", API, "apply", "-f", mesh)
        tokens = []
        for service, address, prefix, more in [
            ("web", FAR, there, ("--app-port", "8080")),
            ("caller", NEAR, (), ()),
        ]:
            create = (weft, "--server", API, "token", "create", "--service-account", "default/" + service)
            token = subprocess.run(create, check=True, timeout=30, capture_output=True, text=True).stdout.strip()
            tokens.append(token.encode())
            start(
                *prefix, proxy, "--control-plane", f"https://{NEAR}:15012", "--trust-bundle", folder / "ca/root-cert.pem",
                "--service", service, "--address", address, *more, token=token,
            )
        start(*there, sys.executable, __file__, "--application")
        eventually("the workload answers", ask)
        for _ in range(20):
            assert ask()
        heard = ask_in_plain()
        eventually("the wire was looked at", lambda: wire.holds(SPOKEN_PLAIN), 5)

        assert b" 200 " not in heard, f"plain text was answered: {heard!r}"
        assert wire.holds(b"\x16\x03"), "no handshake went over the wire"
        for secret in [ASKED, ANSWERED, b"PRI * HTTP/2.0", *tokens]:
            assert not wire.holds(secret), f"{secret[:20]!r} went over the wire in plain"
        print(f"{len(wire.frames)} frames between the pods, nothing in plain")


if __name__ == "__main__":
    if sys.argv[1:] == ["--application"]:
        http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Application).serve_forever()
    main()
