#!/usr/bin/env python3
"""Runs all of h2spec, its strict cases too, against weft-proxy with nghttpd behind it.

    h2spec.py [--weft PROGRAM] [--direct]      --direct: against nghttpd alone

h2spec tests the rules of RFC 7540, of which RFC 9113 has changed some. The cases that fail for that reason are named in
EXPECTED, each with its reason. Prints each case that is not as named there, one that passes against expectation too; the exit
code is 1 if there is any. Needs setup.sh. All traffic stays on loopback, and only processes started here are ended.
"""

import argparse
import concurrent.futures
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

from between import PEERS, Child, between, free_port, program

TIMEOUT = 120  # seconds, for all
ANSWER_TIMEOUT = 2  # seconds that h2spec waits for each answer
AT_ONCE = 8
CASES = 146

ANSWERED = "RFC 9113 §8.1.1 lets a server answer first: ours is a 400 that says what was wrong, and both sides have ended then"
CLOSED = "RFC 9113 §5.1 lets an endpoint pass over frames on a closed stream, which may have been under way; ours are counted"
PRIORITY = "RFC 9113 §5.3.2: what a frame says of priority means nothing any more"
DETECTED = "what begins with no preface is taken for HTTP/1, answered as such, and closed"

# By h2spec's own numbers: the section, and the place of the case in it.
EXPECTED = {
    "http2/3.5/2": DETECTED,
    "http2/5.1/8": CLOSED,
    "http2/5.1/11": CLOSED,
    "http2/5.3.1/1": PRIORITY,
    "http2/5.3.1/2": PRIORITY,
    "http2/8.1.2/1": ANSWERED,
    **{f"http2/8.1.2.1/{number}": ANSWERED for number in (1, 2, 4)},
    **{f"http2/8.1.2.2/{number}": ANSWERED for number in range(1, 3)},
    **{f"http2/8.1.2.3/{number}": ANSWERED for number in range(1, 8)},
    "http2/8.1.2.6/1": ANSWERED,
}
# Each is run by a process of its own: most of the time goes by in waiting for answers that do not come.
SECTIONS = ["generic", "hpack", *(f"http2/{section}" for section in (3, 4, 5, 6, 7, 8.2, "8.1/1"))]
SECTIONS += ["http2/8.1.2/1", *(f"http2/8.1.2.{section}" for section in (1, 2, 3, 6))]


def run_section(section, port, folder):
    """Runs one section; whether each case passed, by its number."""
    report = folder / f"{section.replace('/', '-')}.xml"
    command = [PEERS / "h2spec", section, "--strict", "-h", "127.0.0.1", "-p", str(port), "-o", str(ANSWER_TIMEOUT), "-j", report]
    subprocess.run(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False)
    passed, last = {}, {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        package = case.get("package")
        last[package] = last.get(package, 0) + 1
        passed[f"{package}/{last[package]}"] = (len(case) == 0, case.get("classname"), "".join(case.itertext()).strip())
    return passed


def run(options, folder):
    """Runs all; each case as `run_section` has it."""
    files = folder / "files"
    files.mkdir()
    (files / "index.html").write_bytes(b"x" * 4096)
    upstream = free_port()
    nghttpd = [program("nghttpd"), "--no-tls", "--address=127.0.0.1", f"--htdocs={files}", upstream]
    server = Child(nghttpd, folder / "nghttpd.log")
    row = () if options.direct else ("weft",)
    try:
        server.wait_for(upstream)
        with between(row, ("h2", "h2"), upstream, folder, options.weft) as port:
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                results = list(pool.map(lambda section: run_section(section, port, folder), SECTIONS))
    finally:
        server.stop()
    return {case: seen for result in results for case, seen in result.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weft", default=shutil.which("weft-proxy"))
    parser.add_argument("--direct", action="store_true")
    options = parser.parse_args()
    if not options.direct and not pathlib.Path(options.weft or "").is_file():
        parser.error(f"--weft: must be the program, got {options.weft}")
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"not over after {TIMEOUT} s"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    signal.alarm(TIMEOUT)
    with tempfile.TemporaryDirectory(prefix="weft-h2spec-") as name:
        seen = run(options, pathlib.Path(name))
    expected = {} if options.direct else EXPECTED
    wrong = [case for case, (passed, *_) in seen.items() if passed == (case in expected)]
    for case in wrong:
        passed, title, why = seen[case]
        print(f"{case} {title}: " + ("passed, and must not" if passed else f"failed:\n{why}"))
    if len(seen) != CASES or not expected.keys() <= seen.keys():
        wrong.append("all")
        print(f"{len(seen)} cases were run, not {CASES}")
    failed = sum(not passed for passed, *_ in seen.values())
    print(f"{len(seen) - failed} of {len(seen)} cases passed, {len(expected)} were expected not to")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
