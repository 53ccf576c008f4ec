"""gRPC C-core's xDS client for Weft's tests.

usage: grpc_xds_client.py TARGET METHOD, with GRPC_XDS_BOOTSTRAP in the environment.

Reads lines "calls N" from standard input, makes that many unary calls and prints one JSON object a line: how many
answers came from each server, and the failures by status code. Ends with its standard input.
"""

import collections
import json
import sys

import grpc


def main():
    target, method = sys.argv[1:]
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(method)
        for line in sys.stdin:
            answers, failures = collections.Counter(), collections.Counter()
            for _ in range(int(line.split()[1])):
                try:
                    answers[call(b"", timeout=10, wait_for_ready=True).decode()] += 1
                except grpc.RpcError as error:
                    failures[f"{error.code().name}: {error.details()}"] += 1
            print(json.dumps({"answers": answers, "failures": failures}), flush=True)


main()
