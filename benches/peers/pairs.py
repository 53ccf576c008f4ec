"""Two of a kind with mTLS between them, as two sidecars are: plain HTTP/1.1 or HTTP/2 in and out, HTTP/2 over TLS 1.3 between."""

import json
import subprocess

from proxies import PEERS, PROXY_CORE, TARGET, Process, Unavailable, bootstrap, free_port

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# What sidecars of a mesh offer each other (ALPN), so that heads of HTTP/1 keep their spelling on the way.
SIDECARS = ["weft-h2", "h2"]


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def certificates(folder):
    """A root, and a certificate for each end, all ECDSA P-256."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(folder, "req", "-x509", *key, "-days", "2", "-subj", "/CN=root", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("a", "b"):
        openssl(folder, "req", "-new", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "ext").write_text(f"subjectAltName=URI:spiffe://td/{name}\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "ext", "-out", f"{name}.pem")


def context(folder, own, other, alpn):
    versions = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
    return {
        "tls_params": versions,
        "alpn_protocols": alpn,
        "tls_certificates": [
            {"certificate_chain": {"filename": f"{folder}/{own}.pem"}, "private_key": {"filename": f"{folder}/{own}.key"}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": f"{folder}/ca.pem"},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": f"spiffe://td/{other}"}}],
        },
    }


def socket(kind, common, **further):
    config = {"@type": f"{TLS}.{kind}", "common_tls_context": common, **further}
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def configs(folder, name, kind, front, between, upstream, alpn=("h2",)):
    """The bootstraps of both ends, for Envoy and for weft-proxy."""
    certificates(folder)
    near = bootstrap(folder, f"{name}-a", "http", front, between)
    document = json.loads(near.read_text())
    cluster = document["static_resources"]["clusters"][0]
    cluster["transport_socket"] = socket("UpstreamTlsContext", context(folder, "a", "b", [*alpn]))
    http2 = {"@type": f"type.googleapis.com/{OPTIONS}", "explicit_http_config": {"http2_protocol_options": {}}}
    cluster["typed_extension_protocol_options"] = {OPTIONS: http2}
    near.write_text(json.dumps(document))
    far = bootstrap(folder, f"{name}-b", kind, between, upstream)
    document = json.loads(far.read_text())
    chain = document["static_resources"]["listeners"][0]["filter_chains"][0]
    chain["transport_socket"] = socket("DownstreamTlsContext", context(folder, "b", "a", [*alpn]), require_client_certificate=True)
    far.write_text(json.dumps(document))
    return far, near


class Pair:
    """Two processes that are measured as one."""

    def __init__(self, commands, ports, folder, name):
        self.ends = []
        for index, (command, port) in enumerate(zip(commands, ports)):
            self.ends.append(Process(command, port, PROXY_CORE, folder / f"{name}-{index}.log"))

    def cpu_seconds(self):
        return sum(end.cpu_seconds() for end in self.ends)

    def stop(self):
        for end in reversed(self.ends):
            end.stop()


def weft(folder, kind, upstream, alpn=("h2",)):
    front, between = free_port(), free_port()
    def command(config):
        words = [TARGET / "release/weft-proxy", "--bootstrap", config, "--concurrency", "1", "--log-level", "warn"]
        return words + ["--metrics-listen", f"127.0.0.1:{free_port()}"]

    commands = [command(config) for config in configs(folder, "weft", kind, front, between, upstream, alpn)]
    return Pair(commands, (between, front), folder, "weft"), front


def sidecars(folder, kind, upstream):
    return weft(folder, kind, upstream, SIDECARS)


def envoy(folder, kind, upstream):
    front, between = free_port(), free_port()
    options = ["--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    commands = [[PEERS / "envoy", "-c", config, *options] for config in configs(folder, "envoy", kind, front, between, upstream)]
    return Pair(commands, (between, front), folder, "envoy"), front


def haproxy(folder, kind, upstream):
    certificates(folder)
    front, between = free_port(), free_port()
    for own in ("a", "b"):
        (folder / f"{own}.both").write_text((folder / f"{own}.pem").read_text() + (folder / f"{own}.key").read_text())
    defaults = """global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  option http-keep-alive
  http-reuse always
listen in
"""
    far, near = folder / "haproxy-b.cfg", folder / "haproxy-a.cfg"
    tls = "ssl-min-ver TLSv1.3 alpn h2"
    plain = " proto h2" if kind == "h2" else ""
    far.write_text(
        f"{defaults}  bind 127.0.0.1:{between} ssl crt {folder}/b.both ca-file {folder}/ca.pem verify required {tls}\n"
        f"  server origin 127.0.0.1:{upstream}{plain}\n"
    )
    near.write_text(
        f"{defaults}  bind 127.0.0.1:{front}{plain}\n"
        f"  server far 127.0.0.1:{between} ssl crt {folder}/a.both ca-file {folder}/ca.pem verify required {tls}\n"
    )
    commands = [["haproxy", "-db", "-f", config] for config in (far, near)]
    return Pair(commands, (between, front), folder, "haproxy"), front


def nginx(folder, kind, upstream):
    raise Unavailable("speaks no HTTP/2 to an upstream but for gRPC")


PAIRS = {"envoy": envoy, "weft": weft, "haproxy": haproxy, "nginx": nginx}
# The mesh's own form of a pair, beside the others' plain one.
MESH = {**PAIRS, "weft": sidecars}
