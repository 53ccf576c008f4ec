use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, date_time_ymd};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::secret::Secret;
use weft_config::spiffe::SpiffeId;
use weft_config::tls::{DownstreamTls, SecretName, UpstreamTls};

use super::authority::{Authority, Issued, dns, downstream, upstream, uri};
use crate::clock::unix_now;
use crate::stream::Plain;
use crate::tls::{
    ClientContext, HandshakeError, Inside, Refusal, Secrets, ServerContext, TlsFacts, TlsStream,
    accept, connect,
};

const LIMIT: Duration = Duration::from_secs(20);

/// How both sides of one handshake ended.
pub(super) type Shaken = (
    Result<TlsStream, HandshakeError>,
    Result<TlsStream, HandshakeError>,
);

pub(super) async fn sockets() -> (Plain, Plain) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let far = listener.accept().await.unwrap().0;
    (Plain::Tcp(near), Plain::Tcp(far))
}

pub(super) async fn shake(
    secrets: &Secrets,
    down: &Arc<DownstreamTls>,
    up: &Arc<UpstreamTls>,
) -> Shaken {
    let (server, client) = (secrets.server(down), secrets.client(up));
    let (near, far) = sockets().await;
    let accepting = accept(&server, far, Vec::new(), None);
    let connecting = connect(&client, near, None, Inside::Http2, LIMIT);
    tokio::join!(accepting, connecting)
}

/// A server that demands a certificate of `trust`'s, and a client that shows `shown`.
async fn shown(trust: &Value, server: &Issued, authority: &Authority, shown: &Issued) -> Shaken {
    let down = downstream(
        json!({ "tls_certificates": [server.json()], "validation_context": trust }),
        json!({ "require_client_certificate": true }),
    );
    let roots = json!({ "trusted_ca": { "inline_string": authority.pem } });
    let up = upstream(
        json!({ "tls_certificates": [shown.json()], "validation_context": roots }),
        json!({}),
    );
    shake(&Secrets::new(), &down, &up).await
}

/// A connection over which the server has said something, so that the tickets before it have come.
async fn hello(
    server: &ServerContext,
    client: &ClientContext,
) -> Result<(TlsStream, TlsStream), HandshakeError> {
    let (near, far) = sockets().await;
    let (down, up) = tokio::join!(
        accept(server, far, Vec::new(), None),
        connect(client, near, None, Inside::Http2, LIMIT)
    );
    let (mut down, mut up) = (down?, up?);
    down.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    up.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    Ok((down, up))
}

fn put(secrets: &Secrets, proto: Value) {
    let proto = weft_xds_proto::json::from_json(&proto).unwrap();
    let read = Secret::parse(&proto, &FieldPath::root(), &mut Diagnostics::new()).unwrap();
    secrets.put(&SecretName::of_bootstrap(&read.name), &read.kind);
}

fn ours() -> (Authority, Issued) {
    let authority = Authority::new("root");
    let server = authority.issue(&[uri("spiffe://td/ns/a/sa/server"), dns("server.test")]);
    (authority, server)
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let (authority, server) = ours();
    let client = authority.issue(&[uri("spiffe://td/ns/a/sa/client")]);
    let roots = json!({ "trusted_ca": { "inline_string": authority.pem } });
    let (down, up) = shown(&roots, &server, &authority, &client).await;
    let (down, up) = (down.unwrap(), up.unwrap());
    let id = |stream: &TlsStream| {
        let peer = stream.facts().peer.clone().unwrap();
        peer.spiffe_id().unwrap().to_string()
    };
    assert_eq!(id(&down), "spiffe://td/ns/a/sa/client");
    assert_eq!(id(&up), "spiffe://td/ns/a/sa/server");
    assert_eq!(down.facts().version, "TLSv1.3");
    assert_eq!(&*up.facts().cipher_suite, "TLS13_AES_256_GCM_SHA384");
}

#[tokio::test]
async fn who_should_not_get_in_is_refused_each_for_its_reason() {
    let (authority, server) = ours();
    let other = Authority::new("other");
    let id = [uri("spiffe://td/ns/a/sa/client")];
    let with = |change: fn(&mut CertificateParams)| authority.issue_as(&id, change);
    let roots = json!({ "trusted_ca": { "inline_string": authority.pem } });
    let mut named = roots.clone();
    named["match_typed_subject_alt_names"] =
        json!([{ "san_type": "URI", "matcher": { "exact": "spiffe://td/ns/a/sa/friend" } }]);
    let spiffe = |domain: &str| {
        json!({ "custom_validator_config": { "name": "v", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
            "trust_domains": [{ "name": domain, "trust_bundle": { "inline_string": authority.pem } }],
        } } })
    };
    let mut pinned = roots.clone();
    pinned["verify_certificate_hash"] = json!(["00".repeat(32)]);
    let table = [
        (
            &roots,
            with(|it| it.not_after = date_time_ymd(2021, 1, 1)),
            Refusal::Expired,
        ),
        (
            &roots,
            with(|it| it.not_before = date_time_ymd(2099, 1, 1)),
            Refusal::NotYetValid,
        ),
        (
            &roots,
            with(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            Refusal::WrongPurpose,
        ),
        (&roots, other.issue(&id), Refusal::UnknownIssuer),
        (&roots, other.itself(), Refusal::CaUsedAsLeaf),
        (&roots, authority.itself(), Refusal::CaUsedAsLeaf),
        (&roots, self_signed(), Refusal::SelfSigned),
        (&named, authority.issue(&id), Refusal::WrongName),
        (
            &spiffe("other"),
            authority.issue(&id),
            Refusal::WrongTrustDomain,
        ),
        (
            &spiffe("td"),
            authority.issue(&[dns("a.test")]),
            Refusal::WrongTrustDomain,
        ),
        (&spiffe("td"), other.issue(&id), Refusal::UnknownIssuer),
        (&pinned, authority.issue(&id), Refusal::NotPinned),
    ];
    for (trust, client, reason) in table {
        let (down, _) = shown(trust, &server, &authority, &client).await;
        match down {
            Err(HandshakeError::Refused(refusal)) => assert_eq!(refusal, reason),
            other => panic!("{reason:?}: {other:?}"),
        }
    }
    let (down, _) = shown(&spiffe("td"), &server, &authority, &authority.issue(&id)).await;
    down.expect("the right trust domain");
}

fn self_signed() -> Issued {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    Issued {
        chain: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let (authority, server) = ours();
    let roots = json!({ "trusted_ca": { "inline_string": authority.pem } });
    let common =
        json!({ "tls_certificates": [server.json()], "validation_context": roots.clone() });
    let up = upstream(json!({ "validation_context": roots }), json!({}));
    let required = downstream(
        common.clone(),
        json!({ "require_client_certificate": true }),
    );
    let (down, _) = shake(&Secrets::new(), &required, &up).await;
    assert!(
        matches!(down, Err(HandshakeError::NoCertificate)),
        "{down:?}"
    );
    let asked = downstream(common, json!({}));
    let (down, _) = shake(&Secrets::new(), &asked, &up).await;
    assert_eq!(down.unwrap().facts().peer, None);
}

#[tokio::test]
async fn a_secret_that_names_nobody_lets_nobody_in_where_a_certificate_is_required() {
    let (authority, server) = ours();
    let secrets = Secrets::new();
    put(
        &secrets,
        json!({ "name": "nobody", "validation_context": {} }),
    );
    let down = downstream(
        json!({
            "tls_certificates": [server.json()],
            "validation_context_sds_secret_config": { "name": "nobody" },
        }),
        json!({ "require_client_certificate": true }),
    );
    let client = authority.issue(&[uri("spiffe://td/client")]);
    let roots = json!({ "trusted_ca": { "inline_string": authority.pem } });
    let shows = upstream(
        json!({ "tls_certificates": [client.json()], "validation_context": roots }),
        json!({}),
    );
    let (down_end, _) = shake(&secrets, &down, &shows).await;
    assert!(
        matches!(down_end, Err(HandshakeError::Refused(Refusal::NoTrust))),
        "{down_end:?}"
    );
    let hides = upstream(json!({ "validation_context": roots }), json!({}));
    let (down_end, _) = shake(&secrets, &down, &hides).await;
    assert!(
        matches!(down_end, Err(HandshakeError::NoCertificate)),
        "{down_end:?}"
    );
}

/// Two handshakes, and a third behind a new certificate called `own`: it is a whole one, and `seen` has the new name.
async fn renewed(
    secrets: &Secrets,
    authority: &Authority,
    (down, up): (Arc<DownstreamTls>, Arc<UpstreamTls>),
    seen: impl Fn(&TlsStream, &TlsStream) -> Arc<TlsFacts>,
) {
    let told = |id: &str| {
        let issued = authority.issue(&[uri(id)]);
        put(
            secrets,
            json!({ "name": "own", "tls_certificate": issued.json() }),
        );
    };
    told("spiffe://td/first");
    let (server, client) = (secrets.server(&down), secrets.client(&up));
    for (resumed, id) in [
        (false, "spiffe://td/first"),
        (true, "spiffe://td/first"),
        (false, "spiffe://td/second"),
    ] {
        if id.ends_with("second") {
            told(id);
        }
        let (down, up) = hello(&server, &client).await.unwrap();
        let facts = seen(&down, &up);
        assert_eq!(facts.resumed, resumed);
        let peer = facts.peer.as_ref().unwrap();
        assert_eq!(peer.spiffe_id(), Some(SpiffeId::parse(id).unwrap()));
    }
}

const NAMED: &str = "tls_certificate_sds_secret_configs";

#[tokio::test]
async fn a_new_certificate_of_the_client_begins_a_new_session() {
    let (authority, server) = ours();
    let roots = json!({ "trusted_ca": { "inline_string": authority.pem } });
    let down = downstream(
        json!({ "tls_certificates": [server.json()], "validation_context": roots }),
        json!({ "require_client_certificate": true }),
    );
    let up = upstream(
        json!({ NAMED: [{ "name": "own" }], "validation_context": roots }),
        json!({}),
    );
    let seen = |down: &TlsStream, _: &TlsStream| down.facts().clone();
    renewed(&Secrets::new(), &authority, (down, up), seen).await;
}

#[tokio::test]
async fn a_new_certificate_of_the_server_begins_a_new_session() {
    let (authority, _) = ours();
    let roots = json!({ "trusted_ca": { "inline_string": authority.pem } });
    let down = downstream(json!({ NAMED: [{ "name": "own" }] }), json!({}));
    let up = upstream(json!({ "validation_context": roots }), json!({}));
    let seen = |_: &TlsStream, up: &TlsStream| up.facts().clone();
    renewed(&Secrets::new(), &authority, (down, up), seen).await;
}

#[tokio::test]
async fn a_server_is_judged_by_the_name_that_was_asked_for() {
    let (authority, server) = ours();
    let down = downstream(json!({ "tls_certificates": [server.json()] }), json!({}));
    let roots =
        json!({ "validation_context": { "trusted_ca": { "inline_string": authority.pem } } });
    let up = |name: &str| {
        upstream(
            roots.clone(),
            json!({ "sni": name, "auto_sni_san_validation": true }),
        )
    };
    let (_, right) = shake(&Secrets::new(), &down, &up("server.test")).await;
    assert_eq!(
        right.unwrap().facts().server_name.as_deref(),
        Some("server.test")
    );
    let (_, wrong) = shake(&Secrets::new(), &down, &up("other.test")).await;
    assert!(
        matches!(wrong, Err(HandshakeError::Refused(Refusal::WrongName))),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn a_named_secret_takes_over_without_a_new_context() {
    let (authority, _) = ours();
    let secrets = Secrets::new();
    let named = json!({ "tls_certificate_sds_secret_configs": [{ "name": "own" }] });
    let down = downstream(named, json!({}));
    let roots = json!({ "trusted_ca": { "inline_string": authority.pem } });
    let up = upstream(json!({ "validation_context": roots }), json!({}));
    let server = secrets.server(&down);
    let client = secrets.client(&up);
    let told = |id: &str| {
        let issued = authority.issue(&[uri(id)]);
        put(
            &secrets,
            json!({ "name": "own", "tls_certificate": issued.json() }),
        );
    };
    let (near, far) = sockets().await;
    let (early, _) = tokio::join!(
        accept(&server, far, Vec::new(), None),
        connect(&client, near, None, Inside::Http2, LIMIT)
    );
    assert!(
        matches!(early, Err(HandshakeError::NotReady(_))),
        "{early:?}"
    );
    for id in ["spiffe://td/first", "spiffe://td/second"] {
        told(id);
        let (near, far) = sockets().await;
        let (down, up) = tokio::join!(
            accept(&server, far, Vec::new(), None),
            connect(&client, near, None, Inside::Http2, LIMIT)
        );
        down.unwrap();
        let peer = up.unwrap().facts().peer.clone().unwrap();
        assert_eq!(peer.spiffe_id(), Some(SpiffeId::parse(id).unwrap()));
    }
}

#[tokio::test]
async fn an_authority_that_is_trusted_no_more_ends_its_sessions() {
    let (authority, server) = ours();
    let other = Authority::new("other");
    let secrets = Secrets::new();
    let trust = |pem: &str| {
        let roots = json!({ "trusted_ca": { "inline_string": pem } });
        put(
            &secrets,
            json!({ "name": "roots", "validation_context": roots }),
        );
    };
    trust(&authority.pem);
    let down = downstream(
        json!({
            "tls_certificates": [server.json()],
            "validation_context_sds_secret_config": { "name": "roots" },
        }),
        json!({ "require_client_certificate": true }),
    );
    let client = authority.issue(&[uri("spiffe://td/client")]);
    let roots = json!({ "trusted_ca": { "inline_string": authority.pem } });
    let up = upstream(
        json!({ "tls_certificates": [client.json()], "validation_context": roots }),
        json!({}),
    );
    let (server, client) = (secrets.server(&down), secrets.client(&up));
    for expected in [Some(false), Some(true), None] {
        if expected.is_none() {
            trust(&other.pem);
        }
        let down = hello(&server, &client).await.map(|(down, _)| down);
        let resumed = down.as_ref().ok().map(|stream| stream.facts().resumed);
        assert_eq!(resumed, expected, "{down:?}");
    }
}

#[tokio::test]
async fn a_session_is_forgotten_when_the_certificate_that_it_began_with_has_expired() {
    let authority = Authority::new("root");
    let expires = u64::try_from(unix_now()).unwrap() + 3;
    let short = authority.issue_as(&[uri("spiffe://td/server")], |it| {
        it.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(expires);
    });
    let down = downstream(json!({ "tls_certificates": [short.json()] }), json!({}));
    let roots = json!({ "trusted_ca": { "inline_string": authority.pem } });
    let up = upstream(json!({ "validation_context": roots }), json!({}));
    let secrets = Secrets::new();
    let (server, client) = (secrets.server(&down), secrets.client(&up));
    hello(&server, &client).await.unwrap();
    let failed = loop {
        match hello(&server, &client).await {
            Ok((_, up)) => assert!(up.facts().resumed),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, HandshakeError::Stale), "{failed:?}");
    // The server hears what is wrong during the handshake: it was a whole one.
    let told = hello(&server, &client).await.unwrap_err().to_string();
    assert!(told.contains("CertificateExpired"), "{told}");
}

#[test]
fn a_key_in_a_pipe_or_a_device_is_refused_and_not_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for path in [pipe.to_str().unwrap(), "/dev/zero"] {
        let proto = json!({ "name": "own", "tls_certificate": {
            "certificate_chain": { "filename": path }, "private_key": { "filename": path },
        } });
        let proto = weft_xds_proto::json::from_json(&proto).unwrap();
        let read = Secret::parse(&proto, &FieldPath::root(), &mut Diagnostics::new()).unwrap();
        let (send, found) = std::sync::mpsc::channel();
        std::thread::spawn(move || send.send(Secrets::new().check(&read.kind)));
        let found = found.recv_timeout(std::time::Duration::from_secs(10));
        let fault = found.expect("it does not wait").unwrap_err().to_string();
        assert!(fault.ends_with("is not a regular file"), "{fault}");
    }
}
