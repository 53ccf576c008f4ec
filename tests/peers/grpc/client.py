"""A gRPC client on C-core for Weft's tests: calls the service Echo of echo.proto and checks what comes back.

usage: client.py --target HOST:PORT --authority NAME --case CASE [--seconds N]

CASE is one name, several with commas between, or "all"; --list prints them. Each case makes one line of JSON: its name,
whether it passed, and what it saw or what was wrong. The exit code is 1 if one failed. Each is bounded in time.
"""

import asyncio
import time
import uuid

import grpc

from cases import Wrong, case, equal, main

protos, services = grpc.protos_and_services("echo.proto")

CALL_TIMEOUT = 20  # seconds, of a call that has no deadline of its own
LARGE = 4 << 20
CALLS, CONCURRENCY = 1_000, 50
MESSAGE = "naïve: 100 % of 日本 ☂,\ttab\nand line"
BINARY = bytes(range(256))


def pattern(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def ended_with(error, code, message=None):
    """That a call has ended with this status, and this message if one is given."""
    equal("status", error.code().name, code.name)
    if message is not None:
        equal("message", error.details(), message)


async def failed(call):
    """The error that a call ends with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise Wrong("the call succeeded")


async def sight(stub, key, until=lambda seen: seen.ended):
    """What the server saw of the call with this key, when that has come true or after ten seconds."""
    end = time.monotonic() + 10
    while True:
        seen = await stub.Seen(protos.Key(key=key), timeout=CALL_TIMEOUT)
        if until(seen):
            return seen
        if time.monotonic() > end:
            raise Wrong(f"the server saw only {{{str(seen).strip()}}}")
        await asyncio.sleep(0.02)


def new_key():
    return uuid.uuid4().hex


@case
async def unary(stub, options):
    reply = await stub.Unary(protos.Request(payload=BINARY), timeout=CALL_TIMEOUT)
    equal("payload", reply.payload, BINARY)
    empty = await stub.Unary(protos.Request(), timeout=CALL_TIMEOUT)
    equal("an empty payload", (empty.payload, empty.received), (b"", 1))
    if reply.authority:
        equal("authority", reply.authority, options.authority)
    return {"authority": reply.authority}


@case
async def large(stub, options):
    reply = await stub.Unary(protos.Request(payload=pattern(LARGE)), timeout=CALL_TIMEOUT)
    equal("bytes received", reply.received_bytes, LARGE)
    equal("payload", reply.payload, pattern(LARGE))
    return {"bytes_each_way": LARGE}


@case
async def server_stream(stub, options):
    request = protos.Request(reply_bytes=10_000, replies=500)
    replies = [reply async for reply in stub.ServerStream(request, timeout=CALL_TIMEOUT)]
    equal("numbers", [reply.number for reply in replies], list(range(500)))
    if any(reply.payload != pattern(10_000) for reply in replies):
        raise Wrong("a payload is not the pattern")
    return {"replies": len(replies)}


@case
async def client_stream(stub, options):
    call = stub.ClientStream(timeout=CALL_TIMEOUT)
    for _ in range(500):
        await call.write(protos.Request(payload=pattern(10_000)))
    await call.done_writing()
    reply = await call
    equal("requests and bytes", (reply.received, reply.received_bytes), (500, 5_000_000))
    return {"requests": reply.received}


@case
async def bidi(stub, options):
    call = stub.Bidi(timeout=CALL_TIMEOUT)
    for turn in range(50):
        await call.write(protos.Request(payload=b"%d" % turn, replies=2))
        for number in (2 * turn, 2 * turn + 1):
            reply = await call.read()
            equal("reply", (reply.payload, reply.number, reply.received), (b"%d" % turn, number, turn + 1))
    await call.done_writing()
    equal("after the last reply", await call.read(), grpc.aio.EOF)
    equal("status", await call.code(), grpc.StatusCode.OK)
    return {"turns": 50}


@case
async def half_close(stub, options):
    call = stub.Bidi(timeout=CALL_TIMEOUT)
    for turn in range(5):
        await call.write(protos.Request(payload=b"%d" % turn, replies=1, hold=True, delay_ms=50))
    await call.done_writing()
    replies = [(reply.payload, reply.received) async for reply in call]
    equal("replies after the half-close", replies, [(b"%d" % turn, 5) for turn in range(5)])
    return {"replies": len(replies)}


@case
async def cancel(stub, options):
    key = new_key()
    call = stub.Bidi(timeout=CALL_TIMEOUT)
    await call.write(protos.Request(key=key, replies=1))
    await call.read()
    call.cancel()
    seen = await sight(stub, key)
    equal("cancelled, as the server saw it", seen.cancelled, True)

    key = new_key()
    call = stub.ServerStream(protos.Request(key=key, replies=100_000, delay_ms=5), timeout=CALL_TIMEOUT)
    await call.read()
    call.cancel()
    streamed = await sight(stub, key)
    equal("a stream cancelled, as the server saw it", streamed.cancelled, True)
    return {"received": seen.received, "sent": streamed.sent}


@case
async def deadline(stub, options):
    reply = await stub.Unary(protos.Request(), timeout=10)
    # C-core rounds what it sends up, by some hundredths.
    if not 5_000 < reply.timeout_ms <= 10_500:
        raise Wrong(f"of a deadline of 10 s the server was left {reply.timeout_ms} ms")
    key = new_key()
    began = time.monotonic()
    error = await failed(stub.Unary(protos.Request(key=key, delay_ms=20_000), timeout=0.5))
    took = time.monotonic() - began
    ended_with(error, grpc.StatusCode.DEADLINE_EXCEEDED)
    if not 0.4 < took < 10:
        raise Wrong(f"a deadline of 0.5 s was exceeded after {took:.2f} s")
    seen = await sight(stub, key)
    equal("cancelled, as the server saw it", seen.cancelled, True)
    if not 0 < seen.timeout_ms <= 550:
        raise Wrong(f"of a deadline of 500 ms the server was left {seen.timeout_ms} ms")
    return {"left_ms": reply.timeout_ms, "took_s": round(took, 3)}


@case
async def metadata(stub, options):
    sent = (
        ("x-echo-text", "one"),
        ("x-echo-text", "two"),
        ("x-echo-spaces", "a b, c"),
        ("x-echo-data-bin", BINARY),
        ("x-echo-data-bin", b"\0"),
    )
    trailers = [
        protos.Field(name="x-text", value=b"first"),
        protos.Field(name="x-text", value=b"second"),
        protos.Field(name="x-data-bin", value=BINARY),
    ]
    call = stub.Unary(protos.Request(echo_metadata=True, trailers=trailers), metadata=sent, timeout=CALL_TIMEOUT)
    await call
    equal("initial metadata", fields(await call.initial_metadata(), "x-"), by_name(sent))
    wanted = {"x-text": "first, second", "x-data-bin": [BINARY]}
    equal("trailing metadata", fields(await call.trailing_metadata(), "x-"), wanted)
    return {"fields": len(sent), "trailers": len(trailers)}


def by_name(pairs):
    """Values by name, in their order: fields of other names may stand between. Those that are text are joined, as any peer
    may do with them (RFC 9110 §5.3)."""
    values = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: found if name.endswith("-bin") else ", ".join(found) for name, found in values.items()}


def fields(metadata, prefix):
    own = ((name, value) for name, value in metadata or () if name.startswith(prefix))
    return by_name((name, value) for name, value in own if name not in PROXY_FIELDS)


# What a proxy between may add.
PROXY_FIELDS = ("x-envoy-upstream-service-time", "x-request-id")


@case
async def gzip(stub, options):
    payload = pattern(100_000)
    gzipped = {"compression": grpc.Compression.Gzip, "timeout": CALL_TIMEOUT}
    reply = await stub.Unary(protos.Request(payload=payload, gzip=True), **gzipped)
    equal("payload", reply.payload, payload)
    call = stub.Bidi(**gzipped)
    for _ in range(3):
        await call.write(protos.Request(payload=payload, replies=1, gzip=True))
        equal("streamed payload", (await call.read()).payload, payload)
    await call.done_writing()
    equal("status", await call.code(), grpc.StatusCode.OK)
    return {"bytes": len(payload)}


@case
async def status(stub, options):
    outcome = protos.Outcome(code=grpc.StatusCode.FAILED_PRECONDITION.value[0], message=MESSAGE, details=BINARY)
    request = protos.Request(replies=3, outcome=outcome, trailers=[protos.Field(name="x-text", value=b"kept")])
    call = stub.ServerStream(request, timeout=CALL_TIMEOUT)
    replies = 0
    try:
        async for _ in call:
            replies += 1
        raise Wrong("the call succeeded")
    except grpc.aio.AioRpcError as error:
        ended_with(error, grpc.StatusCode.FAILED_PRECONDITION, MESSAGE)
        trailing = by_name(error.trailing_metadata())
    equal("replies before it", replies, 3)
    equal("details", trailing.get("grpc-status-details-bin"), [BINARY])
    equal("a trailer beside it", trailing.get("x-text"), "kept")
    return {"replies": replies, "message": MESSAGE}


@case
async def trailers_only(stub, options):
    codes = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
    for code in codes:
        outcome = protos.Outcome(code=code.value[0], message=f"{code.name} ☂", details=BINARY)
        error = await failed(stub.Unary(protos.Request(outcome=outcome), timeout=CALL_TIMEOUT))
        ended_with(error, code, f"{code.name} ☂")
        equal("details", by_name(error.trailing_metadata()).get("grpc-status-details-bin"), [BINARY])
    return {"codes": len(codes)}


@case
async def early_status(stub, options):
    outcome = protos.Outcome(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="enough")
    call = stub.ClientStream(timeout=CALL_TIMEOUT)
    written = 0
    try:
        await call.write(protos.Request(payload=pattern(1_000), outcome=outcome))
        for written in range(1, 1_000):
            await call.write(protos.Request(payload=pattern(10_000)))
            await asyncio.sleep(0.005)
        raise Wrong("a thousand requests went to a call that had ended")
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        ended_with(await failed(call), grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")
    return {"requests_written": written}


@case
async def calls(stub, options):
    room = asyncio.Semaphore(CONCURRENCY)

    async def one(number):
        async with room:
            payload = b"%d" % number
            reply = await stub.Unary(protos.Request(payload=payload, delay_ms=number % 3), timeout=CALL_TIMEOUT)
            equal("payload", reply.payload, payload)

    began = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(CALLS)))
    return {"calls": CALLS, "took_s": round(time.monotonic() - began, 3)}


@case
async def open(stub, options):
    call = stub.Bidi(timeout=options.seconds + CALL_TIMEOUT)
    await call.write(protos.Request(payload=b"first", replies=1))
    equal("the first reply", (await call.read()).payload, b"first")
    await asyncio.sleep(options.seconds)
    await call.write(protos.Request(payload=b"last", replies=1))
    equal("the last reply", (await call.read()).payload, b"last")
    await call.done_writing()
    equal("status", await call.code(), grpc.StatusCode.OK)
    return {"seconds": options.seconds}


main(__doc__, services.EchoStub)
