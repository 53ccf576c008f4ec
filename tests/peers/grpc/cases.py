"""How the gRPC clients of Weft's tests on C-core are called, and how they report, as cases.js says it for those on Node.

A client registers its cases with @case; each is given what `main` makes of the channel, and the options.
"""

import argparse
import asyncio
import json
import sys

import grpc

CASE_TIMEOUT = 60  # seconds, beside those that are asked for
CASES = {}


class Wrong(Exception):
    """What was seen is not what should have been."""


def case(function):
    CASES[function.__name__.replace("_", "-")] = function
    return function


def equal(what, got, wanted):
    if got != wanted:
        raise Wrong(f"{what}: got {short(got)}, not {short(wanted)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"


def main(usage, subject=lambda channel: channel):
    """Runs the cases that are asked for, one after the other, and ends the process."""
    sys.exit(asyncio.run(run_all(read_options(usage), subject)))


async def run_all(options, subject):
    settings = [
        ("grpc.default_authority", options.authority),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    passed = True
    async with grpc.aio.insecure_channel(options.target, options=settings) as channel:
        for name in options.case:
            line = await run(name, subject(channel), options)
            print(json.dumps(line, ensure_ascii=False), flush=True)
            passed = passed and line["passed"]
    return 0 if passed else 1


async def run(name, subject, options):
    """Runs one case; gives its line."""
    limit = CASE_TIMEOUT + options.seconds
    try:
        saw = await asyncio.wait_for(CASES[name](subject, options), limit)
        return {"case": name, "passed": True, "saw": saw}
    except Wrong as wrong:
        return {"case": name, "passed": False, "error": str(wrong)}
    except asyncio.TimeoutError:
        return {"case": name, "passed": False, "error": f"not over after {limit} s"}
    except grpc.RpcError as error:
        return {"case": name, "passed": False, "error": f"{error.code().name}: {error.details()}"}
    except Exception as error:  # whatever it is, the case has its line and the others follow
        return {"case": name, "passed": False, "error": f"{type(error).__name__}: {error}"}


def read_options(usage):
    parser = argparse.ArgumentParser(description=usage, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--target")
    parser.add_argument("--authority")
    parser.add_argument("--case")
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    if options.list:
        print("\n".join(CASES))
        sys.exit(0)
    for name in ("target", "authority", "case"):
        if not getattr(options, name):
            parser.error(f"--{name}: is required")
    options.case = list(CASES) if options.case == "all" else options.case.split(",")
    for name in options.case:
        if name not in CASES:
            parser.error(f"--case: must be one of {', '.join(CASES)} or all, got {name!r}")
    if not 0 <= options.seconds <= 600:
        parser.error(f"--seconds: must be 0 to 600, got {options.seconds}")
    return options
