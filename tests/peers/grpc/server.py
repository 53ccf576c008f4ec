"""A gRPC server on C-core for Weft's tests: the service Echo of echo.proto.

Prints "listening PORT" and ends with its standard input.
"""

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

    def remember(self, key, sight):
        self.sights[key] = sight
        while len(self.sights) > KEYS_MAX:
            self.sights.popitem(last=False)

    async def Unary(self, request, context):
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
        return self.sights.get(key.key, protos.Sight())


def metadata_value(field):
    return field.value if field.name.endswith("-bin") else field.value.decode("ascii")


def pattern(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


async def main():
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=unbounded)
    services.add_EchoServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("listening", port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


asyncio.run(main())
