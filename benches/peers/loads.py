"""The load that the proxies are compared under."""

import re
import subprocess

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
    command = ["taskset", "-c", "1", "wrk", "-t", "1", "-c", "64", "-d", f"{seconds}s"]
    for name, value in {**HEADERS, **extra}.items():
        command += ["-H", f"{name}: {value}"]
    output = subprocess.run(command + [f"http://127.0.0.1:{port}/some/path?query=1"], capture_output=True, text=True, check=True)
    requests = int(re.search(r"(\d+) requests in", output.stdout).group(1))
    errors = re.search(r"(Non-2xx|Socket errors).*", output.stdout)
    return requests, errors.group(0) if errors else None
