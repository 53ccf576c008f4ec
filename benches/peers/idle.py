"""Connections at rest: each has seen one request and its answer of 1 KiB."""

import socket

BODY_BYTES = 1024
TIMEOUT = 10  # seconds


def http1(port):
    """A connection that has seen one HTTP/1.1 request."""
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    seen = b""
    while b"x" * BODY_BYTES not in seen:
        piece = connection.recv(65536)
        if not piece:
            raise SystemExit(f"the proxy closed a connection: {seen[:300]!r}")
        seen += piece
    return connection


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4
# GET, http and / as RFC 7541's static table has them, and the authority "a" as a literal (§6.1, §6.2.2).
FIELDS = b"\x82\x86\x84\x01\x01a"


def http2(port):
    """A connection that has seen one HTTP/2 request; settings are acknowledged (RFC 9113 §6.5.3)."""
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_STREAM | END_HEADERS, 1, FIELDS))
    seen, ended, settled = 0, False, False
    with connection.makefile("rb") as reader:
        while not (ended and settled):
            head = reader.read(9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3:4], head[4:5]
            payload = reader.read(length)
            if len(head) < 9 or kind[0] in (RST_STREAM, GOAWAY):
                raise SystemExit(f"the proxy gave up a connection: {head + payload!r}")
            if kind[0] == SETTINGS and not flags[0] & ACK:
                connection.sendall(frame(SETTINGS, ACK, 0))
                settled = True
            elif kind[0] in (DATA, HEADERS):
                seen += length if kind[0] == DATA else 0
                ended = bool(flags[0] & END_STREAM)
    if seen != BODY_BYTES:
        raise SystemExit(f"the answer has {seen} bytes, not {BODY_BYTES}")
    return connection


def is_open(connection):
    """Whether the proxy has kept a connection; what it has sent since, such as settings acknowledged, is read."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
