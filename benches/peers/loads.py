"""The load that the proxies are compared under."""

import pathlib
import re
import subprocess

from proxies import LOAD_CORE, Unavailable

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


def wrk(port, seconds, extra):
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t", "1", "-c", "64", "-d", f"{seconds}s"]
    for name, value in {**HEADERS, **extra}.items():
        command += ["-H", f"{name}: {value}"]
    output = subprocess.run(command + [f"http://127.0.0.1:{port}/some/path?query=1"], capture_output=True, text=True, check=True)
    requests = int(re.search(r"(\d+) requests in", output.stdout).group(1))
    errors = re.search(r"(Non-2xx|Socket errors).*", output.stdout)
    return requests, errors.group(0) if errors else None


# What a gRPC client sends of itself, and what is usual besides.
GRPC_HEADERS = {
    "content-type": "application/grpc",
    "te": "trailers",
    "user-agent": "grpc-compare/1.0",
    "grpc-accept-encoding": "identity,deflate,gzip",
    "grpc-timeout": "10S",
    "authorization": HEADERS["authorization"],
    "x-request-id": HEADERS["x-request-id"],
    "traceparent": HEADERS["traceparent"],
}


def origin_options(grpc):
    """What nghttpd is told besides, to answer a call."""
    return ("--trailer=grpc-status: 0", "--no-content-length") if grpc else ()


class Http2Load:
    """Requests over HTTP/2 without TLS: 8 connections with 32 streams each."""

    def __init__(self, folder, grpc):
        self.path = "/weft.test.Echo/Unary.grpc" if grpc else "/some/path?query=1"
        self.headers = GRPC_HEADERS if grpc else HEADERS
        self.grpc = grpc
        self.body = pathlib.Path(folder) / "request"
        self.body.write_bytes(b"\0" + (64).to_bytes(4, "big") + b"y" * 64)

    def words(self, port):
        fields = [word for name, value in self.headers.items() for word in ("-H", f"{name}: {value}")]
        return [*fields, f"http://127.0.0.1:{port}{self.path}"]

    def check(self, port):
        """That one request is answered as the origin answers, by a proxy that reads it."""
        command = ["curl", "-sS", "--max-time", "10", "--http2-prior-knowledge"]
        command += ["-D", "-", "-o", "/dev/null", "-w", "%{size_download}"]
        command += ["--data-binary", f"@{self.body}"] if self.grpc else []
        done = subprocess.run(command + self.words(port), capture_output=True, text=True)
        head, _, rest = done.stdout.replace("\r", "").lower().partition("\n\n")
        if done.returncode != 0 or not head.startswith("http/2 200") or not rest.endswith("1024"):
            raise SystemExit(f"not answered as by the origin: {done.stdout}{done.stderr}")
        if self.grpc and "grpc-status: 0\n" not in rest:
            raise SystemExit(f"answered without the trailer grpc-status: {done.stdout}")
        return head

    def run(self, port, seconds):
        """How many were answered; and what went wrong, if anything did."""
        command = ["taskset", "-c", str(LOAD_CORE), "h2load", "-t", "1", "-c", "8", "-m", "32", "-D", str(seconds)]
        command += ["-d", str(self.body)] if self.grpc else []
        output = subprocess.run(command + self.words(port), capture_output=True, text=True, check=True).stdout
        return self.outcome(output)

    def exactly(self, port, requests, connections):
        """So many requests, 32 at once on each connection."""
        command = ["h2load", "-t", "1", "-c", str(connections), "-m", "32", "-n", str(requests), "-N", "600"]
        command += ["-d", str(self.body)] if self.grpc else []
        output = subprocess.run(command + self.words(port), capture_output=True, text=True, check=True).stdout
        answered, wrong = self.outcome(output)
        if answered != requests or wrong:
            raise SystemExit(f"{answered} of {requests} were answered: {wrong}")

    @staticmethod
    def outcome(output):
        counts = dict((name, int(count)) for count, name in re.findall(r"(\d+) (succeeded|failed|errored|timeout)", output))
        wrong = {name: count for name, count in counts.items() if name != "succeeded" and count}
        return counts["succeeded"], str(wrong) if wrong else None


def must_be_read(name, head):
    """Refuses a proxy that hands the bytes on and reads none of them: then the origin's own name is in the answer."""
    if name == "weft" and "server: nghttpd" in head:
        raise Unavailable("not built: HTTP/2 goes through as a tunnel")
