#!/usr/bin/env python3
"""Runs the tools that people reach for against weft-proxy: curl, nghttp and h2load before it, nghttpd and nginx behind it.

    tools.py [--case CASE,…] [--direct] [--weft PROGRAM] [--list]      --direct: without weft-proxy

Each case prints a line, and on failure what was wrong; the exit code is 1 if one failed. --direct is for cases with the same
protocol on both sides of weft-proxy. Needs setup.sh. All traffic stays on loopback, everything is bounded in time, and only processes started here are ended.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from between import PEERS, Child, between, free_port, nginx_main, program

HERE = pathlib.Path(__file__).resolve().parent
TOOL_TIMEOUT = 60  # seconds, for one call of a tool
TIMEOUT = 300
AUTHORITY = "echo.test"
MEGABYTE = 1_000_000
LONG_FIELD = 12_000  # bytes; Node takes 16 KiB of fields over HTTP/1.1
SMALL_WINDOW = 10  # bits
UPLOAD_RATE = 2 * MEGABYTE  # bytes a second, where an answer must come before an upload's end
LOAD = {"requests": 10_000, "connections": 20, "streams": 50}
CASES = {}


class Wrong(Exception):
    """What was seen is not what should have been."""


@dataclasses.dataclass
class Place:
    """Where to call, and what may be needed for it."""

    folder: pathlib.Path
    port: int = 0

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def file(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


def case(server, *, upstream="h2", **words):
    """A case against a server of SERVERS, to which weft-proxy speaks `upstream`."""

    def add(function):
        options = [word.strip("-") for word in words.values() if word]
        name = "-".join([function.__name__.replace("_", "-"), *options, *([upstream] if "protocol" in words else [])])
        CASES[name] = (server, upstream, lambda place: function(place, **words))
        return function

    return add


def equal(what, got, wanted):
    if got != wanted:
        raise Wrong(f"{what}: got {got!r:.300}, not {wanted!r:.300}")


def pattern(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def call(*words):
    """What a tool prints; it must succeed."""
    command = [program(words[0]), *map(str, words[1:])]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TOOL_TIMEOUT)
    if done.returncode != 0:
        raise Wrong(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:].decode(errors='replace')}")
    return done.stdout


# curl, by prior knowledge of HTTP/2 and over HTTP/1.1, with either protocol behind.

CURL = {"h2": "--http2-prior-knowledge", "h1": "--http1.1"}


def curl(place, protocol, path, *words):
    field = f"Host: {AUTHORITY}"
    return call("curl", "-sS", "--max-time", 30, CURL[protocol], "-H", field, *words, place.url(path))


def over_all(function):
    """A case for each protocol downstream and upstream."""
    for upstream in ("h2", "h1"):
        for protocol in CURL:
            case("node", upstream=upstream, protocol=protocol)(function)


@over_all
def curl_get(place, protocol):
    equal("hash", sha256(curl(place, protocol, f"/bytes?size={MEGABYTE}")), sha256(pattern(MEGABYTE)))


@over_all
def curl_post(place, protocol):
    body = place.file("body", pattern(MEGABYTE))
    seen = json.loads(curl(place, protocol, "/request", "--data-binary", f"@{body}"))
    equal("method, bytes, hash", (seen["method"], seen["bytes"], seen["sha256"]), ("POST", MEGABYTE, sha256(pattern(MEGABYTE))))
    equal("authority", seen["authority"], AUTHORITY)


@over_all
def curl_head(place, protocol):
    head = curl(place, protocol, "/bytes?size=12345", "--head").decode().lower()
    equal("length", re.findall(r"^content-length: (\d+)\r$", head, re.M), ["12345"])


@over_all
def curl_continue(place, protocol):
    """curl waits longer for leave than the case has time."""
    words = ["-H", "Expect: 100-continue", "--expect100-timeout", 40, "-D", "-", "-d", "a body"]
    answer = curl(place, protocol, "/request", *words).decode()
    equal("statuses", re.findall(r"^HTTP/[\d.]+ (\d+)", answer, re.M), ["100", "200"])


@over_all
def curl_trailers(place, protocol):
    words = ["-H", "TE: trailers", "-D", "-", "-o", os.devnull, "-d", "a body"]
    head, _, rest = curl(place, protocol, "/echo", *words).decode().partition("\r\n\r\n")
    equal("the trailer is in the head", "x-sha256: " in head.lower(), False)
    equal("trailer", re.findall(r"^x-sha256: (\w+)", rest, re.M | re.I), [sha256(b"a body")])


@over_all
def curl_long_field(place, protocol):
    seen = json.loads(curl(place, protocol, "/request", "-H", "x-long: " + "y" * LONG_FIELD))
    got = [value for name, value in seen["fields"] if name.lower() == "x-long"]
    equal("field", got, ["y" * LONG_FIELD])


@case("node", protocol="h1")
@case("node", upstream="h1", protocol="h1")
def curl_many(place, protocol):
    """By prior knowledge curl 7.88 breaks a connection at its second request, whoever the server is."""
    words = ["-o", place.folder / "part#1", "-w", "%{http_code} %{num_connects}\n"]
    told = curl(place, protocol, "/bytes?size=[1-200]", *words).decode().split("\n")[:-1]
    equal("statuses and new connections", told, ["200 1"] + ["200 0"] * 199)
    sizes = [(place.folder / f"part{size}").stat().st_size for size in range(1, 201)]
    equal("sizes", sizes, list(range(1, 201)))


# nghttp, over HTTP/2 alone.


def nghttp(place, *words, paths):
    return call("nghttp", "-t", 30, "-H", f":authority: {AUTHORITY}", *words, *map(place.url, paths))


@case("node")
def nghttp_many(place):
    """Each resource twenty times at once. With several at a time nghttp 1.52 ends when it has the first."""
    for weight, size in ((1, 1), (16, 1_000), (256, 100_000)):
        told = nghttp(place, "-n", "-s", "-m", 20, "-p", weight, paths=[f"/bytes?size={size}"]).decode()
        equal("answers", re.findall(r" (\d{3}) +\S+ +/bytes\S*$", told, re.M), ["200"] * 20)


@case("node")
def nghttp_different(place):
    """Three resources at once, of weights that differ."""
    paths = [f"/bytes?size={size}" for size in (1, 1_000, 100_000)]
    told = nghttp(place, "-n", "-s", "-p", 1, "-p", 256, "-p", 16, paths=paths).decode()
    equal("answers", sorted(re.findall(r" (\d{3}) +\S+ +(/bytes\S*)$", told, re.M)), [("200", path) for path in paths])


@case("node", options="")
@case("node", options="--padding=255")
@case("node", options="--continuation")
@case("node", options="--no-dep")
@case("node", options="--expect-continue")
@case("node", options="--no-content-length")
def nghttp_upload(place, options):
    body = place.file("body", pattern(MEGABYTE))
    fields = [f"-Hx-field-{number}: {'z' * 100}" for number in range(40)]
    seen = json.loads(nghttp(place, *filter(None, [options]), "-d", body, *fields, paths=["/request"]))
    equal("method, bytes, hash", (seen["method"], seen["bytes"], seen["sha256"]), ("POST", MEGABYTE, sha256(pattern(MEGABYTE))))
    got = [value for name, value in seen["fields"] if name.startswith("x-field-")]
    equal("fields", got, ["z" * 100] * 40)


@case("node")
def nghttp_trailer(place):
    body = place.file("body", b"a body")
    told = nghttp(place, "-nv", "--trailer", "x-first: 1", "-d", body, paths=["/echo"]).decode(errors="replace")
    back = re.findall(r"recv \(stream_id=\d+\) (x-first|x-sha256): (\w+)", told)
    equal("trailers", sorted(back), [("x-first", "1"), ("x-sha256", sha256(b"a body"))])


@case("node")
def nghttp_small_windows(place):
    got = nghttp(place, "-w", SMALL_WINDOW, "-W", 16, paths=[f"/bytes?size={MEGABYTE}"])
    equal("hash", sha256(got), sha256(pattern(MEGABYTE)))


def h2load(place):
    words = ["-n", LOAD["requests"], "-c", LOAD["connections"], "-m", LOAD["streams"]]
    told = call("h2load", *words, place.url("/small")).decode()
    counts = re.search(r"^requests: (\d+) total.* (\d+) succeeded, (\d+) failed", told, re.M)
    equal("requests", counts and counts.groups(), (str(LOAD["requests"]),) * 2 + ("0",))
    equal("statuses", re.findall(r"^status codes: (\d+) 2xx", told, re.M), [str(LOAD["requests"])])


# nghttpd and nginx behind.

FILES = {"empty": 0, "small": 1 << 10, "large": 10 << 20}


def files(place):
    for name, size in FILES.items():
        got = curl(place, "h2", f"/{name}")
        equal(f"hash of {name}", (len(got), sha256(got)), (size, sha256(pattern(size))))
    equal("status of what is not there", curl(place, "h2", "/none", "-o", os.devnull, "-w", "%{http_code}"), b"404")


def at_once(place):
    told = nghttp(place, "-n", "-s", "-m", 50, paths=["/small"]).decode()
    equal("answers", re.findall(r" (\d{3}) +\S+ +/small$", told, re.M), ["200"] * 50)


def one_by_one(place):
    """The second and the third wait for the stream of the first."""
    for _ in range(5):
        told = nghttp(place, "-n", "-s", paths=["/small", "/large", "/empty"]).decode()
        equal("answers", re.findall(r" (\d{3}) +\S+ +/\w+$", told, re.M), ["200"] * 3)


def echoes(place):
    body = place.file("body", pattern(10 * MEGABYTE))
    for back in (curl(place, "h1", "/small", "--data-binary", f"@{body}"), nghttp(place, "-d", body, paths=["/small"])):
        equal("bytes and hash", (len(back), sha256(back)), (10 * MEGABYTE, sha256(pattern(10 * MEGABYTE))))


def early(place):
    """The answer comes before the upload has ended. curl takes the RST_STREAM(NO_ERROR) behind it for a fault."""
    body, back = place.file("body", pattern(10 * MEGABYTE)), place.folder / "back"
    words = ["--data-binary", f"@{body}", "--limit-rate", UPLOAD_RATE, "-o", back, "-w", "%{size_upload}"]
    sent = int(curl(place, "h1", "/small", *words))
    if sent > 5 * MEGABYTE:
        raise Wrong(f"the upload went on for {sent} bytes after the answer")
    for got in (back.read_bytes(), nghttp(place, "-d", body, paths=["/small"])):
        equal("hash", sha256(got), sha256(pattern(FILES["small"])))


def trailer(place):
    for protocol in CURL:
        words = ["-H", "TE: trailers", "-D", "-", "-o", os.devnull]
        rest = curl(place, protocol, "/small", *words).partition(b"\r\n\r\n")[2]
        equal("trailer", re.findall(rb"^x-t: (\w+)", rest, re.M | re.I), [b"yes"])


for server, checks in {
    "nghttpd": [files, at_once, h2load],
    "nghttpd --trailer=x-t:yes --no-content-length": [files, trailer],
    "nghttpd --echo-upload": [echoes],
    "nghttpd --early-response": [early],
    "nghttpd --max-concurrent-streams=1": [files, one_by_one, at_once],
    f"nghttpd --window-bits={SMALL_WINDOW} --connection-window-bits=16 --echo-upload": [echoes],
    "nghttpd --padding=255 --header-table-size=0": [files, at_once],
    "nginx": [files, at_once, h2load],
}.items():
    for check in checks:
        name = "-".join([check.__name__, *(word.strip("-") for word in server.split())])
        CASES[name.replace("_", "-")] = (server, "h2", check)


@contextlib.contextmanager
def running(server, place):
    """Starts a server; gives its ports."""
    root = place.folder / "files"
    for name, size in FILES.items():
        place.file(f"files/{name}", pattern(size))
    kind, *words = server.split()
    port = free_port()
    command, environment = {
        "node": lambda: (["node", HERE / "http2/server.js"], {"NODE_PATH": str(PEERS / "node/node_modules")}),
        "nghttpd": lambda: ([program("nghttpd"), "-v", "--no-tls", "--address=127.0.0.1", f"-d{root}", *words, port], {}),
        "nginx": lambda: (nginx_files(place.folder, port, root), {}),
    }[kind]()
    # nghttpd tells its log to its output.
    child = Child(command, place.folder / "server.log", environment, output=None if kind == "node" else place.folder / "frames.log")
    try:
        if kind == "node":
            yield dict(zip(("h2", "h1"), map(int, child.line().split()[1:])))
        else:
            child.wait_for(port)
            yield {"h2": port}
    finally:
        child.stop()


def nginx_files(folder, port, root):
    server = f"listen 127.0.0.1:{port} http2; root {root};"
    return nginx_main(folder, server)


def complaints(place):
    """What nghttpd found wrong with the frames it was sent."""
    lines = (place.folder / "frames.log").read_text(errors="replace").splitlines()
    if not any("recv HEADERS" in line for line in lines):
        return ["no frame was seen"]
    faults = r"\[ERROR\]|\[INVALID|(PROTOCOL|INTERNAL|FLOW_CONTROL|FRAME_SIZE|COMPRESSION|STREAM_CLOSED)(_ERROR)?\(0x"
    # A stream above a number that was not yet told is refused, and is no fault (RFC 9113 §5.1.2).
    return [line for line in lines if re.search(faults, line) and "error=Stream was refused" not in line]


def run(name, place):
    """One case; whether it failed."""
    wrong = None
    try:
        CASES[name][2](place)
    except (Wrong, subprocess.TimeoutExpired, ValueError) as error:
        wrong = str(error) or repr(error)
    return tell(name, wrong)


def tell(name, wrong):
    print(f"{'FAILED' if wrong else 'passed':<7} {name}" + (f": {wrong}" if wrong else ""), flush=True)
    return wrong is not None


def run_all(server, upstream, names, options):
    """All cases against one server; how many failed."""
    with tempfile.TemporaryDirectory(prefix="weft-tools-") as folder:
        place = Place(pathlib.Path(folder))
        with running(server, place) as ports:
            row = () if options.direct else ("weft",)
            with between(row, ("h2", upstream), ports[upstream], place.folder, options.weft) as place.port:
                failed = sum(run(name, place) for name in names)
        if server.startswith("nghttpd"):
            found = complaints(place)
            failed += tell(f"frames sent to {server}", f"it complained: {found[:3]}" if found else None)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--case")
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--weft", default=shutil.which("weft-proxy"))
    options = parser.parse_args()
    if options.list:
        print("\n".join(CASES))
        sys.exit(0)
    names = options.case.split(",") if options.case else list(CASES)
    for name in names:
        if name not in CASES:
            parser.error(f"--case: must be one of {', '.join(CASES)}, got {name!r}")
    if not options.direct and not pathlib.Path(options.weft or "").is_file():
        parser.error(f"--weft: must be the program, got {options.weft}")
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"not over after {TIMEOUT} s"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    signal.alarm(TIMEOUT)
    servers = {}
    for name in names:
        servers.setdefault(CASES[name][:2], []).append(name)
    failed = sum(run_all(*server, cases, options) for server, cases in servers.items())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
