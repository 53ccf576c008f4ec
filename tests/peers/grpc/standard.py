"""A gRPC client on C-core for Weft's tests: what every gRPC server has, and connections that live long or are renewed.

usage: standard.py --target HOST:PORT --authority NAME --case CASE [--seconds N]      against server.py
--standard, and `renewed` against server.py --max-age MILLISECONDS

CASE is one name, several with commas between, or "all"; --list prints them. Each case makes one line of JSON: its name,
whether it passed, and what it saw or what was wrong. The exit code is 1 if one failed. Each is bounded in time.
"""

import asyncio
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cases import Wrong, case, equal, main

protos, services = grpc.protos_and_services("echo.proto")

CALL_TIMEOUT = 20  # seconds
CONCURRENCY = 20
KEEPALIVE_MS = 200  # C-core does not ping more than once a second all the same
KEEPALIVE_SECONDS = 6  # a server of its own defaults ends the connection at the fifth ping
SERVICE = "weft.test.Echo"


@case
async def health(channel, options):
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=CALL_TIMEOUT)
        equal(f"status of {name!r}", reply.status, health_pb2.HealthCheckResponse.SERVING)
    try:
        await stub.Check(health_pb2.HealthCheckRequest(service="none"), timeout=CALL_TIMEOUT)
        raise Wrong("a service that is not there has a status")
    except grpc.aio.AioRpcError as error:
        equal("status of none", error.code(), grpc.StatusCode.NOT_FOUND)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=CALL_TIMEOUT)
    equal("watched status", (await watch.read()).status, health_pb2.HealthCheckResponse.SERVING)
    watch.cancel()
    return {"services": 2}


@case
async def reflection(channel, options):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(timeout=CALL_TIMEOUT)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in (await call.read()).list_services_response.service}
    equal("services", names >= {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}, True)
    for symbol in (SERVICE, "grpc.health.v1.Health"):
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
        files = (await call.read()).file_descriptor_response.file_descriptor_proto
        equal(f"{symbol} is in its file", any(symbol.rpartition(".")[2].encode() in file for file in files), True)
    await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Symbol"))
    equal("error", (await call.read()).error_response.error_code, grpc.StatusCode.NOT_FOUND.value[0])
    await call.done_writing()
    equal("status", await call.code(), grpc.StatusCode.OK)
    return {"services": sorted(names)}


@case
async def keepalive(channel, options):
    """The client pings all the time, while one stream is open and nothing is sent: nobody may mind."""
    seconds = max(options.seconds, KEEPALIVE_SECONDS)
    settings = [
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", 2_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.default_authority", options.authority),
    ]
    async with grpc.aio.insecure_channel(options.target, options=settings) as own:
        call = services.EchoStub(own).Bidi(timeout=seconds + CALL_TIMEOUT)
        await call.write(protos.Request(payload=b"first", replies=1))
        equal("the first reply", (await call.read()).payload, b"first")
        states = await changes(own, seconds)
        equal("changes of the connection", states, [])
        await call.write(protos.Request(payload=b"last", replies=1))
        equal("the last reply", (await call.read()).payload, b"last")
        await call.done_writing()
        equal("status", await call.code(), grpc.StatusCode.OK)
    return {"seconds": seconds}


async def changes(channel, seconds):
    """What a channel that is ready becomes within some seconds."""
    state = channel.get_state()
    equal("state", state, grpc.ChannelConnectivity.READY)
    try:
        await asyncio.wait_for(channel.wait_for_state_change(state), seconds)
    except asyncio.TimeoutError:
        return []
    return [channel.get_state().name]


@case
async def renewed(channel, options):
    """The server ends each of its connections after a short time, gracefully: no call may fail for it."""
    stub = services.EchoStub(channel)
    end = time.monotonic() + options.seconds
    counts = [0] * CONCURRENCY

    async def caller(number):
        while time.monotonic() < end:
            payload = b"%d" % counts[number]
            reply = await stub.Unary(protos.Request(payload=payload, delay_ms=number), timeout=CALL_TIMEOUT)
            equal("payload", reply.payload, payload)
            counts[number] += 1

    await asyncio.gather(*(caller(number) for number in range(CONCURRENCY)))
    equal("a caller without a call", min(counts) > 0, True)
    seen = await stub.Seen(protos.Key(), timeout=CALL_TIMEOUT)
    if options.seconds >= 2 and seen.connections < 2:
        raise Wrong(f"the server had {seen.connections} connections: none was renewed")
    return {"calls": sum(counts), "connections": seen.connections}


main(__doc__)
