"""A gRPC server on C-core for Weft's tests: the service Echo of echo.proto.

usage: server.py [--standard] [--max-age MILLISECONDS]

--standard adds health checks and reflection, and allows clients to ping as often as they like. --max-age ends each connection
after so long, gracefully. Prints "listening PORT" and ends with its standard input.
"""

import argparse
import asyncio
import collections
import math
import sys

import grpc

protos, services = grpc.protos_and_services("echo.proto")

REPLY_BYTES_MAX = 64 << 20
REPLIES_MAX = 100_000
DELAY_MS_MAX = 600_000
KEYS_MAX = 1_000
CANCELLED_WITHIN = 0.05  # seconds
AGE_GRACE_MS = 10_000
SERVICE = "weft.test.Echo"


class Call:
    """What is known of one call, and how it is answered."""

    def __init__(self, server, context):
        self.server, self.context = server, context
        self.received_bytes, self.number = 0, 0
        self.trailers = []
        self.sight = protos.Sight(known=True, timeout_ms=self.timeout_ms())

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.sight.ended = True
        self.sight.cancelled = kind is asyncio.CancelledError

    def timeout_ms(self):
        left = self.context.time_remaining()
        return 0 if left is None or not math.isfinite(left) else max(0, round(left * 1e3))

    async def take(self, request):
        """Notes a request, and does what it asks for before the first reply."""
        self.sight.received += 1
        self.received_bytes += len(request.payload)
        if request.key:
            self.server.remember(request.key, self.sight)
        for name, value, limit in (
            ("reply_bytes", request.reply_bytes, REPLY_BYTES_MAX),
            ("replies", request.replies, REPLIES_MAX),
            ("delay_ms", request.delay_ms, DELAY_MS_MAX),
        ):
            if value > limit:
                await self.context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name}: must be at most {limit}, got {value}")
        self.trailers += [(field.name, metadata_value(field)) for field in request.trailers]
        if self.sight.received == 1 and (request.gzip or request.echo_metadata):
            await self.context.send_initial_metadata(self.initial_metadata(request))

    def initial_metadata(self, request):
        initial = []
        if request.gzip:
            # What `set_compression` stands for; on asyncio it is without effect on the calls with one reply.
            initial.append(("grpc-internal-encoding-request", "gzip"))
        if request.echo_metadata:
            initial += [(name, value) for name, value in self.context.invocation_metadata() if name.startswith("x-echo-")]
        return tuple(initial)

    async def requests(self, stream):
        """The requests as they come, each noted."""
        async for request in stream:
            await self.take(request)
            yield request
        # A call that is cancelled looks as if its caller had closed its side; that it is cancelled comes a moment later.
        await asyncio.sleep(CANCELLED_WITHIN)

    @staticmethod
    async def pause(request):
        await asyncio.sleep(request.delay_ms / 1e3)

    def reply(self, request):
        payload = pattern(request.reply_bytes) if request.reply_bytes else request.payload
        reply = protos.Reply(
            payload=payload,
            number=self.number,
            received=self.sight.received,
            received_bytes=self.received_bytes,
            timeout_ms=self.timeout_ms(),
        )
        self.number += 1
        self.sight.sent += 1
        return reply

    async def end(self, outcome):
        """Ends the call as asked; returns where it is to go on."""
        trailers = list(self.trailers)
        if outcome.details:
            trailers.append(("grpc-status-details-bin", outcome.details))
        if outcome.code:
            code = next((code for code in grpc.StatusCode if code.value[0] == outcome.code), grpc.StatusCode.UNKNOWN)
            await self.context.abort(code, outcome.message, tuple(trailers))
        self.context.set_trailing_metadata(tuple(trailers))


class Echo(services.EchoServicer):
    """The service; it remembers the last calls that have a key."""

    def __init__(self):
        self.sights = collections.OrderedDict()
        self.peers = set()

    def remember(self, key, sight):
        self.sights[key] = sight
        while len(self.sights) > KEYS_MAX:
            self.sights.popitem(last=False)

    async def Unary(self, request, context):
        if len(self.peers) < KEYS_MAX:
            self.peers.add(context.peer())
        with Call(self, context) as call:
            await call.take(request)
            await call.pause(request)
            await call.end(request.outcome)
            return call.reply(request)

    async def ServerStream(self, request, context):
        with Call(self, context) as call:
            await call.take(request)
            await self.answer(call, request)

    async def ClientStream(self, requests, context):
        with Call(self, context) as call:
            last = protos.Request()
            async for last in call.requests(requests):
                await call.end(last.outcome)
            await call.pause(last)
            return call.reply(last)

    async def Bidi(self, requests, context):
        with Call(self, context) as call:
            held = []
            async for request in call.requests(requests):
                if request.hold:
                    held.append(request)
                else:
                    await self.answer(call, request)
            for request in held:
                await self.answer(call, request)

    @staticmethod
    async def answer(call, request):
        for _ in range(request.replies):
            await call.pause(request)
            await call.context.write(call.reply(request))
        await call.end(request.outcome)

    async def Seen(self, key, context):
        seen = protos.Sight(connections=len(self.peers))
        seen.MergeFrom(self.sights.get(key.key, protos.Sight()))
        return seen


def metadata_value(field):
    return field.value if field.name.endswith("-bin") else field.value.decode("ascii")


def pattern(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def add_standard(server):
    """Health checks and reflection. They are not loaded where nobody asks for them."""
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--standard", action="store_true")
    parser.add_argument("--max-age", type=int)
    options = parser.parse_args()
    settings = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    if options.standard:
        settings.append(("grpc.http2.min_ping_interval_without_data_ms", 1))
    if options.max_age is not None:
        settings += [("grpc.max_connection_age_ms", options.max_age), ("grpc.max_connection_age_grace_ms", AGE_GRACE_MS)]
    server = grpc.aio.server(options=settings)
    services.add_EchoServicer_to_server(Echo(), server)
    if options.standard:
        await add_standard(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("listening", port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


asyncio.run(main())
