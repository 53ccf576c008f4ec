"""A gRPC server for Weft's tests: every unary call is answered with this server's name.

Prints "listening PORT" and ends with its standard input.
"""

import sys
from concurrent import futures

import grpc


class Anything(grpc.GenericRpcHandler):
    """Answers each method with the same bytes."""

    def __init__(self, name):
        self._name = name.encode()

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._name)


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers([Anything(sys.argv[1])])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("listening", port, flush=True)
    sys.stdin.read()
    server.stop(0).wait()


main()
