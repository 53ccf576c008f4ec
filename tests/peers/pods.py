#!/usr/bin/env python3
"""Pods on a bridge, each with a sidecar to which its connections are redirected, and applications that know nothing of it.

    unshare --net pods.py WEFT WEFT_PROXY FAMILIES MODE BACKEND

FAMILIES is 4, 6 or 46, MODE redirect or tproxy, BACKEND nft, iptables-nft or iptables-legacy. As root. The control plane is on the
bridge. A pod is a network namespace; its redirection is installed before anything else runs there, as an init container would. All of it
vanishes with its processes. Prints a line for each thing that was seen to be so; the exit code is 1 if one was not.
"""

import contextlib
import http.server
import json
import os
import pathlib
import shutil
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time

PROXY_UID = 1337
WRONG_UID = 4242
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin:/bin")  # that everybody may run
API = "http://127.0.0.1:15080"
ETH_P_ALL = 3
GREETING = b"220 who speaks first\r\n"
SECRET = b"asked-in-secret"
ROUNDS = 21
SILENCE = "20s"  # how long sidecars wait for whoever is silent: longer than anybody here waits for a greeting
MESH = """
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {{name: {name}}}
spec:
  ports: [{ports}]
  addresses: [{addresses}]
  discovery: {{workloads: {{selector: {{app: {name}}}}}}}
---
"""
POLICIES = """
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: {name: mtls}
spec: {mtls: {mode: STRICT}}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: {name: open}
spec:
  targetRefs: [{group: mesh.weft.dev, kind: MeshService, name: open}]
  mtls: {mode: PERMISSIVE}
"""


# ---- applications, which listen on all addresses of both families


class Website(http.server.BaseHTTPRequestHandler):
    """Says who calls."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        client = self.client_address[0].removeprefix("::ffff:")
        body = json.dumps({"client": client, "path": self.path, "port": self.server.server_address[1]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Greeter(socketserver.BaseRequestHandler):
    """Speaks first."""

    def handle(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.sendall(GREETING)
        while heard := self.request.recv(4096):
            self.request.sendall(heard)


def serve(kind, handler, port):
    class Server(kind):
        address_family = socket.AF_INET6
        allow_reuse_address = True
        request_queue_size = 128
        daemon_threads = True

    Server(("::", port), handler).serve_forever()


def application(name, ports):
    kinds = {
        "website": (http.server.ThreadingHTTPServer, Website),
        "greeter": (socketserver.ThreadingTCPServer, Greeter),
    }
    threads = [threading.Thread(target=serve, args=(*kinds[name], int(port)), daemon=True) for port in ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def grpc_echo(port):
    import grpc
    from concurrent import futures

    class Anything(grpc.GenericRpcHandler):
        def service(self, _):
            return grpc.unary_unary_rpc_method_handler(lambda request, _: b"echo " + request)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers([Anything()])
    server.add_insecure_port(f"[::]:{port}")
    server.start()
    server.wait_for_termination()


def grpc_call(target):
    import grpc

    with grpc.insecure_channel(target) as channel:
        print(channel.unary_unary("/echo/Echo")(SECRET, timeout=10).decode())


def greetings(address, port, rounds):
    """How long the greeting takes, from the connection on, in the middle of several."""
    took = []
    for _ in range(int(rounds)):
        began = time.perf_counter()
        with socket.create_connection((address, int(port)), timeout=5) as stream:
            heard = stream.recv(4096)
            took.append(time.perf_counter() - began)
            assert heard == GREETING, heard
            stream.sendall(SECRET)
            assert stream.recv(4096) == SECRET
    print(statistics.median(took))


# ---- the stage


def run(*command, **more):
    done = subprocess.run([str(it) for it in command], timeout=60, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stdout} {done.stderr}")
    return done.stdout


def attempt(*command):
    return subprocess.run([str(it) for it in command], timeout=60, capture_output=True, text=True)


def eventually(what, attempt, within=30):
    """Tries until it holds, and gives what it gave."""
    ends, last = time.monotonic() + within, None
    while time.monotonic() < ends:
        try:
            if result := attempt():
                return result
        except (OSError, SystemExit, AssertionError, ValueError) as error:
            last = error
        time.sleep(0.05)
    raise SystemExit(f"not within {within} s: {what} ({last})")


def seen(what):
    print("seen:", what, flush=True)


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


class Stage:
    """The bridge, the control plane on it, and where processes are ended."""

    def __init__(self, stack, weft, proxy, families, mode, backend):
        self.stack, self.weft = stack, weft
        self.families, self.mode, self.backend = families, mode, backend
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.folder.chmod(0o755)
        # Where users without rights may not look, they run nothing either.
        self.proxy = shutil.copy(proxy, self.folder / "weft-proxy")
        self.script = shutil.copy(__file__, self.folder / "pods.py")
        self.pods = 0
        run("ip", "link", "set", "lo", "up")
        # Its address would change with the pods that are added, and nobody would hear of it.
        run("ip", "link", "add", "bridge", "address", "02:00:00:00:00:01", "type", "bridge")
        for family in families:
            self.give("bridge", self.address(family, 1))
        run("ip", "link", "set", "bridge", "up")
        self.wire = Wire("bridge")

    @staticmethod
    def address(family, number):
        return f"10.88.0.{number}" if family == "4" else f"fd88::{number:x}"

    @staticmethod
    def virtual(family, number):
        return f"10.96.0.{number}" if family == "4" else f"fd96::{number:x}"

    def give(self, interface, address, *prefix):
        bits = "64" if ":" in address else "24"
        more = ["nodad"] if ":" in address else []
        run(*prefix, "ip", "address", "add", f"{address}/{bits}", "dev", interface, *more)

    def start(self, *command, log=None, **environment):
        with open(self.folder / log, "ab") if log else contextlib.nullcontext() as output:
            process = subprocess.Popen(
                [str(it) for it in command], env=dict(os.environ, WEFT_LOG_LEVEL="warn", **environment),
                stdout=output, stderr=output,
            )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def control(self):
        first = self.address(self.families[0], 1)
        self.control_plane = f"[{first}]" if ":" in first else first
        self.start(
            self.weft, "serve", "--store", self.folder / "store.redb", "--ca-dir", self.folder / "ca", "--xds-listen",
            "127.0.0.1:15010", "--secure-listen", f"{self.control_plane}:15012", "--secure-name", first,
            "--api-listen", "127.0.0.1:15080", log="control.log",
        )
        eventually("the control plane listens", lambda: listens("127.0.0.1", 15080))
        roots = self.folder / "roots.pem"
        eventually("the roots", lambda: shutil.copy(self.folder / "ca/root-cert.pem", roots))
        roots.chmod(0o644)

    def apply(self, services):
        text = ""
        for number, (name, *ports) in enumerate(services, 1):
            ports = [dict(zip(("name", "port", "targetPort", "appProtocol"), (f"p{port[0]}", *port))) for port in ports]
            addresses = [self.virtual(family, number) for family in self.families]
            written = (", ".join(json.dumps(it) for it in items) for items in (ports, addresses))
            text += MESH.format(name=name, **dict(zip(("ports", "addresses"), written)))
        mesh = self.folder / "mesh.yaml"
        mesh.write_text(text + POLICIES)
        run(self.weft, "--server", API, "apply", "-f", mesh)
        self.number = {name: number for number, (name, *_) in enumerate(services, 1)}


def listens(address, port):
    with socket.create_connection((address, port), timeout=1):
        return True


class Pod:
    """A network namespace on the bridge."""

    def __init__(self, stage, name, ports=(), sidecar=True, policy="ALLOW_ANY", proxy_uid=PROXY_UID, more=()):
        self.stage, self.name = stage, name
        stage.pods += 1
        self.number = 10 + stage.pods
        holder = stage.start("unshare", "--net", "sleep", "600")
        own = os.readlink("/proc/self/ns/net")
        eventually("a namespace", lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own)
        self.inside = ("nsenter", "--target", str(holder.pid), "--net")
        link = f"pod{self.number}"
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", holder.pid)
        run("ip", "link", "set", link, "master", "bridge", "up")
        run(*self.inside, "ip", "link", "set", "lo", "up")
        for family in stage.families:
            stage.give("eth0", self.address(family), *self.inside)
        run(*self.inside, "ip", "link", "set", "eth0", "up")
        for family in stage.families:
            run(*self.inside, "ip", f"-{family}", "route", "add", "default", "via", stage.address(family, 1))
        if sidecar:
            flags = ("--mode", stage.mode, "--backend", stage.backend, "--proxy-uid", proxy_uid, "--proxy-gid", proxy_uid)
            spared = ("--exclude-inbound-ports", "2526", *more)
            run(*self.inside, stage.proxy, "redirect", "install", *flags, *spared)
            run(*self.inside, stage.proxy, "redirect", "verify", *flags, *spared)
            self.sidecar(ports, policy)

    def address(self, family=None):
        return self.stage.address(family or self.stage.families[0], self.number)

    def sidecar(self, ports, policy):
        stage = self.stage
        create = (stage.weft, "--server", API, "token", "create", "--service-account", "default/" + self.name)
        # In a pod with both families, some are called over one and some over the other.
        family = stage.families[self.number % len(stage.families)]
        as_proxy = (
            "setpriv", "--reuid", PROXY_UID, "--regid", PROXY_UID, "--clear-groups", "--inh-caps", "+net_raw",
            "--ambient-caps", "+net_raw", "--",
        )
        log = stage.folder / f"{self.name}.log"
        log.touch()
        os.chown(log, PROXY_UID, PROXY_UID)
        stage.start(
            *self.inside, *as_proxy, stage.proxy, "--control-plane", f"https://{stage.control_plane}:15012",
            "--trust-bundle", stage.folder / "roots.pem", "--service", self.name, "--address", self.address(family),
            "--redirection", stage.mode, "--outbound-policy", policy, "--access-log", log, "--detection-timeout", SILENCE,
            *(it for port in ports for it in ("--app-port", port)), WEFT_JOIN_TOKEN=run(*create).strip(),
            log=f"{self.name}.err",
        )
        run(*self.inside, stage.proxy, "wait", "--timeout", "30s")

    def app(self, *command, uid=65534):
        as_user = ("setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--") if uid else ()
        return self.stage.start(*self.inside, *as_user, *command, log=f"{self.name}.app")

    def script(self, *args, uid=65534):
        return self.app(PYTHON if uid else sys.executable, self.stage.script, *args, uid=uid)

    def greetings(self, address, port, rounds, uid=65534):
        return float(self.run(PYTHON, self.stage.script, "--greetings", address, port, rounds, uid=uid))

    def run(self, *command, uid=None):
        as_user = ("setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--") if uid else ()
        return run(*self.inside, *as_user, *command)

    def attempt(self, *command):
        return attempt(*self.inside, *command)

    def curl(self, url, *more):
        """Who answers a request says whom he has seen."""
        return json.loads(self.run("curl", "-sS", "-g", "--fail", "--max-time", "10", *more, url))

    def log(self):
        return (self.stage.folder / f"{self.name}.log").read_text()

    def metrics(self):
        return self.run("curl", "-sS", "http://127.0.0.1:15020/metrics")


def url(address, port=80, path="/"):
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{path}"


# ---- what is to be seen


def requests(stage, family, caller, web, outside):
    virtual = stage.virtual(family, stage.number["web"])
    path = "/" + SECRET.decode()
    by_address = eventually("the service answers at its virtual address", lambda: caller.curl(url(virtual, path=path)))
    assert by_address["path"] == path
    resolve = ("--resolve", f"web:80:{virtual if ':' not in virtual else f'[{virtual}]'}")
    by_name = caller.curl("http://web/", *resolve)
    elsewhere = outside.address(family)
    elsewhere = f"[{elsewhere}]" if ":" in elsewhere else elsewhere
    by_authority = caller.curl("http://web/", "--connect-to", f"web:80:{elsewhere}:80")
    # Its own address is of the family that its sidecar is called over.
    expected = {caller.address(it) for it in stage.families} if stage.mode == "tproxy" else {"127.0.0.1", "::1"}
    for answer in (by_address, by_name, by_authority):
        assert answer["client"] in expected, f"the application has seen {answer}, not one of {expected}"
    seen(f"IPv{family}: HTTP by virtual address, by name, by authority; the application sees {by_address['client']}")


def to_self(stage, family, web):
    for address in ("127.0.0.1" if family == "4" else "::1", web.address(family)):
        assert web.curl(url(address, 8080))["path"] == "/"
    virtual = stage.virtual(family, stage.number["web"])
    assert web.curl(url(virtual))["path"] == "/"
    # By its own address from the proxy's user, as a table of endpoints would have it: the inbound side takes it, and it is STRICT.
    refused = web.attempt(
        "setpriv", "--reuid", PROXY_UID, "--regid", PROXY_UID, "--clear-groups", "--", "curl", "-sg", "--max-time", "10",
        url(web.address(family), 8080),
    )
    assert refused.returncode != 0, refused
    seen(f"IPv{family}: calls to self, by loopback, own address and virtual address")


def unknown(stage, family, caller, outside):
    address = outside.address(family)
    answer = caller.curl(url(address, 8081, "/unknown"))
    assert answer["client"] == caller.address(family), answer
    assert caller.curl(url(address, 8081), "-H", "Host: nobody.example")["path"] == "/"
    later("an unknown host", stage, family, caller, (address, 2525), (address, 2525))
    seen(f"IPv{family}: unknown hosts are reached, over HTTP and not")


def later(what, stage, family, caller, through, direct):
    """A greeting is heard although its client is silent; how much later than by the proxy's own user, which is not captured."""
    eventually(what, lambda: caller.greetings(*through, 1))
    took = caller.greetings(*through, ROUNDS)
    plain = caller.greetings(*direct, ROUNDS, uid=PROXY_UID)
    seen(f"IPv{family}: {what} greets {(took - plain) * 1000:.2f} ms later ({took * 1000:.2f} and {plain * 1000:.2f} ms)")


def registry_only(stage, family, strict, outside):
    virtual = stage.virtual(family, stage.number["web"])
    eventually("what is known is reached", lambda: strict.curl(url(virtual)))
    address = outside.address(family)
    answer = strict.attempt("curl", "-sg", "--max-time", "10", "-w", "%{http_code}", url(address, 8081))
    assert answer.stdout.endswith("404"), answer
    greeted = strict.attempt(PYTHON, stage.script, "--greetings", address, 2525, 1)
    assert greeted.returncode != 0, greeted
    where = f"[{address}]:2525" if ":" in address else f"{address}:2525"
    eventually("the log says why", lambda: any(where in line and " UH " in line for line in strict.log().splitlines()))
    assert 'weft_upstream_no_endpoint_total{cluster="BlackHoleCluster"}' in strict.metrics()
    seen(f"IPv{family}: where only the registry counts, unknown hosts are refused, logged and counted")


def several_ports(stage, family, caller, opened):
    virtual = stage.virtual(family, stage.number["open"])
    for port, target in ((80, 8080), (81, 8082)):
        answer = eventually("a port of several", lambda: caller.curl(url(virtual, port)))
        assert answer["port"] == target, answer
        assert opened.curl(url(virtual, port))["port"] == target
    seen(f"IPv{family}: two ports of one workload, each its own")


def from_outside(stage, family, web, opened, outside):
    refused = outside.attempt("curl", "-sg", "--max-time", "10", url(web.address(family), 8080))
    assert refused.returncode != 0 and "client" not in refused.stdout, refused
    answer = eventually("the open service answers", lambda: outside.curl(url(opened.address(family), 8080)))
    expected = {outside.address(family)} if stage.mode == "tproxy" else {"127.0.0.1", "::1"}
    assert answer["client"] in expected, answer
    unlisted = outside.attempt("curl", "-sg", "--max-time", "10", url(opened.address(family), 8085))
    assert unlisted.returncode != 0, f"a port that nobody has told of was passed on: {unlisted}"
    assert outside.greetings(opened.address(family), 2526, 1) > 0, "a port that is spared"
    seen(f"IPv{family}: from outside of the mesh: refused where it is STRICT, else taken; the application sees {answer['client']}")


def protocols(stage, family, caller):
    redis = ("redis-cli", "-h", stage.virtual(family, stage.number["redis"]))
    eventually("redis", lambda: caller.run(*redis, "ping").strip() == "PONG")
    caller.run(*redis, "set", "key", SECRET.decode())
    assert caller.run(*redis, "get", "key").strip() == SECRET.decode()
    virtual = stage.virtual(family, stage.number["sql"])
    select = ("psql", "-h", virtual, "-U", "postgres", "-Atc", f"select '{SECRET.decode()}'")
    eventually("psql", lambda: caller.run(*select).strip() == SECRET.decode())
    target = url(stage.virtual(family, stage.number["echo"]), 50051).removeprefix("http://").removesuffix("/")
    call = (sys.executable, __file__, "--grpc-call", f"ipv{family}:{target}")
    eventually("gRPC", lambda: caller.run(*call).strip() == "echo " + SECRET.decode())
    seen(f"IPv{family}: redis-cli, psql and a gRPC client")


def a_loop(stage, family, astray, outside):
    """The proxy runs as somebody whom redirection does not spare."""
    for port in (8081, 2525):
        astray.attempt("curl", "-sg", "--max-time", "5", url(outside.address(family), port))
        if port == 2525:
            astray.attempt(PYTHON, stage.script, "--greetings", outside.address(family), port, 1)
    lines = eventually("the loop is logged", lambda: [it for it in astray.log().splitlines() if "loop: " in it])
    accepted = [it for it in astray.metrics().splitlines() if it.startswith("weft_listener_connections_total{")]
    count = sum(int(float(it.split()[-1])) for it in accepted if "outbound" in it)
    assert count < 30, f"{count} connections went round"
    assert any("8081" in it for it in lines) and any("2525" in it for it in lines), lines
    seen(f"IPv{family}: a loop ends after {count} connections of 3 calls")


def main():
    weft, proxy, families, mode, backend = sys.argv[1:]
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, weft, proxy, families, mode, backend)
        stage.control()
        stage.apply([
            ("web", (80, 8080, "http")), ("open", (80, 8080, "http"), (81, 8082, "http")), ("redis", (6379, 6379, "tcp")),
            ("sql", (5432, 5432, "tcp")), ("echo", (50051, 50051, "grpc")), ("mail", (25, 2525, "tcp")), ("mute", (26, 2525, "detect")),
        ])
        try:
            play(stage)
        except BaseException:
            for file in sorted(it for it in stage.folder.iterdir() if it.suffix in (".err", ".log", ".app")):
                print(f"--- {file.name}", *file.read_text().splitlines()[-6:], sep="\n", file=sys.stderr)
            raise


def play(stage):
    outside = Pod(stage, "outside", sidecar=False)
    outside.script("--application", "website", "8081", "80", uid=0)
    outside.script("--application", "greeter", "2525", uid=0)
    caller, strict = Pod(stage, "caller"), Pod(stage, "strict", policy="REGISTRY_ONLY")
    web, opened = Pod(stage, "web", [8080]), Pod(stage, "open", [8080, 8082])
    web.script("--application", "website", "8080")
    opened.script("--application", "website", "8080", "8082", "8085")
    opened.script("--application", "greeter", "2526")
    redis = Pod(stage, "redis", [6379])
    redis.app("redis-server", "--bind", "*", "-::*", "--protected-mode", "no", "--save", "")
    echo, mail, mute = Pod(stage, "echo", [50051]), Pod(stage, "mail", [2525]), Pod(stage, "mute", [2525])
    echo.script("--grpc-echo", "50051", uid=0)
    for pod in (mail, mute):
        pod.script("--application", "greeter", "2525", "2526")
    database(stage)
    # Else it would not even reach its control plane.
    astray = Pod(stage, "astray", proxy_uid=WRONG_UID, more=("--exclude-outbound-ports", "15012"))
    for family in stage.families:
        requests(stage, family, caller, web, outside)
        to_self(stage, family, web)
        unknown(stage, family, caller, outside)
        registry_only(stage, family, strict, outside)
        several_ports(stage, family, caller, opened)
        from_outside(stage, family, web, opened, outside)
        protocols(stage, family, caller)
        for pod, port in ((mail, 25), (mute, 26)):
            virtual = (stage.virtual(family, stage.number[pod.name]), port)
            later(f"a service that speaks first ({pod.name})", stage, family, caller, virtual, (pod.address(family), 2526))
        a_loop(stage, family, astray, outside)
    assert stage.wire.holds(b"\x16\x03"), "no handshake went over the wire"
    assert not stage.wire.holds(SECRET + b" "), "a secret went over the wire in plain"
    print("all is as it should be")


def database(stage):
    """PostgreSQL, which does not run as root."""
    pod = Pod(stage, "sql", [5432])
    programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    data = stage.folder / "sql"
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    owner = ("setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", "--")
    run(*owner, programs / "initdb", "--no-sync", "--auth=trust", "-D", data)
    with open(data / "pg_hba.conf", "a") as rules:
        rules.write("host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n")
    pod.app(*owner, programs / "postgres", "-D", data, "-h", "*", "-k", data, "-F", uid=None)
    return pod


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--application", name, *ports]:
            application(name, ports)
        case ["--grpc-echo", port]:
            grpc_echo(port)
        case ["--grpc-call", target]:
            grpc_call(target)
        case ["--greetings", address, port, rounds]:
            greetings(address, port, rounds)
        case _:
            main()
