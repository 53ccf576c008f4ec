"""A server of secrets (SDS) on gRPC C-core, for Weft's tests: both protocols, on TCP and on a Unix socket.

    sds_server.py SOCKET [PORT]

It reads lines: `certificate NAME CHAIN KEY` and `roots NAME FILE` tell a secret from then on, and `asked` prints how many
streams there have been. Each is answered by a line. Prints "listening PORT" first, and ends with its standard input.
"""

import queue
import sys
import threading
from concurrent import futures

import grpc
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.secret.v3 import sds_pb2_grpc

TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class Secrets(sds_pb2_grpc.SecretDiscoveryServiceServicer):
    """All secrets by name, with versions; streams are told of each change that concerns them."""

    def __init__(self):
        self._lock = threading.Lock()
        self._told = {}
        self._streams = {}
        self._count = 0

    def put(self, secret):
        with self._lock:
            version = self._told.get(secret.name, (0, None))[0] + 1
            self._told[secret.name] = (version, secret)
            for events in self._streams.values():
                events.put(None)

    def count(self):
        with self._lock:
            return self._count

    def _current(self, names):
        with self._lock:
            return {name: self._told[name] for name in names if name in self._told}

    def _events(self, requests, context):
        """Requests as they come, `None` for a change, and an end."""
        events = queue.Queue()
        with self._lock:
            self._count += 1
            stream = self._count
            self._streams[stream] = events
        over = object()

        def pump():
            try:
                for request in requests:
                    events.put(request)
            except grpc.RpcError:
                pass
            events.put(over)

        threading.Thread(target=pump, daemon=True).start()
        try:
            while context.is_active():
                event = events.get()
                if event is over:
                    return
                yield event
        finally:
            with self._lock:
                del self._streams[stream]

    def StreamSecrets(self, request_iterator, context):
        names, told, nonce = set(), {}, 0
        for event in self._events(request_iterator, context):
            if event is not None:
                if event.error_detail.message:
                    print("refused", event.error_detail.message.replace("\n", " "), file=sys.stderr, flush=True)
                names = set(event.resource_names)
                told = {name: version for name, version in told.items() if name in names}
            current = self._current(names)
            versions = {name: version for name, (version, _) in current.items()}
            if versions == told:
                continue
            told, nonce = versions, nonce + 1
            answer = discovery_pb2.DiscoveryResponse(version_info=str(nonce), nonce=str(nonce), type_url=TYPE)
            for _, secret in current.values():
                answer.resources.add().Pack(secret)
            yield answer

    def DeltaSecrets(self, request_iterator, context):
        names, told, nonce = set(), {}, 0
        for event in self._events(request_iterator, context):
            if event is not None:
                names |= set(event.resource_names_subscribe)
                names -= set(event.resource_names_unsubscribe)
                told = {name: version for name, version in told.items() if name in names}
            current = self._current(names)
            news = {name: told_now for name, told_now in current.items() if told.get(name) != told_now[0]}
            if not news:
                continue
            nonce += 1
            answer = discovery_pb2.DeltaDiscoveryResponse(nonce=str(nonce), type_url=TYPE)
            for name, (version, secret) in news.items():
                told[name] = version
                resource = answer.resources.add(name=name, version=str(version))
                resource.resource.Pack(secret)
            yield answer


def read(path):
    with open(path, "rb") as file:
        return file.read()


def told(words):
    secret = secret_pb2.Secret(name=words[1])
    if words[0] == "certificate":
        secret.tls_certificate.certificate_chain.inline_bytes = read(words[2])
        secret.tls_certificate.private_key.inline_bytes = read(words[3])
    else:
        secret.validation_context.trusted_ca.inline_bytes = read(words[2])
    return secret


def main():
    secrets = Secrets()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=[("grpc.so_reuseport", 0)])
    sds_pb2_grpc.add_SecretDiscoveryServiceServicer_to_server(secrets, server)
    server.add_insecure_port(f"unix:{sys.argv[1]}")
    wanted = sys.argv[2] if len(sys.argv) > 2 else "0"
    port = server.add_insecure_port(f"127.0.0.1:{wanted}")
    server.start()
    print("listening", port, flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "asked":
            print(secrets.count(), flush=True)
        else:
            secrets.put(told(words))
            print("told", flush=True)
    server.stop(0).wait()


main()
