use std::collections::HashMap;

use weft_config::listener::AccessLogFormat;

use super::*;
use crate::tls::{PeerCertificate, TlsFacts};

struct Head(HashMap<&'static str, &'static [u8]>);

impl RequestHead for Head {
    fn method(&self) -> &[u8] {
        b"GET"
    }
    fn authority(&self) -> &[u8] {
        b"reviews:9080"
    }
    fn path_and_query(&self) -> &[u8] {
        b"/a?b=c"
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).copied()
    }
}

fn downstream() -> DownstreamInfo<'static> {
    DownstreamInfo {
        peer: SocketAddr::from(([10, 0, 0, 1], 1234)),
        local: SocketAddr::from(([10, 0, 0, 2], 80)),
        protocol: Protocol::Http2,
        tls: None,
    }
}

/// Runs one request through a log of this format; the lines written.
fn logged(
    format: AccessLogFormat,
    head: &Head,
    act: impl FnOnce(&mut RequestLog, &Metrics),
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = AccessLog {
        path: path.to_str().unwrap().into(),
        format,
    };
    let metrics = Metrics::new();
    let scope = Scope::build(&metrics, &"l".into(), Direction::Outbound, &[log]).unwrap();
    let now = Instant::now();
    let mut request = RequestLog::begin(&scope, &downstream(), head, now);
    act(&mut request, &metrics);
    request.finish(now + Duration::from_millis(12));
    metrics.logs.flush();
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_request_cannot_forge_a_line_or_a_field() {
    let head = Head([("user-agent", &b"x\" 200 -\r\n[2026] \\ \x1b[31m"[..])].into());
    let text = logged(AccessLogFormat::Text, &head, |request, _| {
        request.response(404, |_| None)
    });
    assert_eq!(text.lines().count(), 1);
    assert!(
        text.contains(r#""x\" 200 -\x0d\x0a[2026] \\ \x1b[31m""#),
        "{text}"
    );
    let json = logged(AccessLogFormat::Json, &head, |request, _| {
        request.response(404, |_| None)
    });
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["user_agent"], "x\" 200 -\r\n[2026] \\ \x1b[31m");
    assert_eq!(
        (&object["status"], &object["duration_ms"]),
        (&404.into(), &12.into())
    );
    assert!(object["upstream_host"].is_null());
}

#[test]
fn a_pattern_shows_what_happened() {
    let pattern = "%REQ(:METHOD)% %REQ(X-NONE?:PATH):3% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
        %UPSTREAM_CLUSTER% %RESP(X-TIME)% %BYTES_SENT% %DURATION% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %PROTOCOL%";
    let head = Head(HashMap::new());
    let line = logged(
        AccessLogFormat::Pattern(pattern.into()),
        &head,
        |request, metrics| {
            request.routed(&metrics.cluster(&"reviews".into()), &"r1".into());
            request.flag(ResponseFlag::UF);
            request.details("connection_refused");
            request.response(503, |name| (name == "x-time").then_some(&b"7"[..]));
            request.sent(21);
        },
    );
    assert_eq!(
        line,
        "GET /a? 503 UF connection_refused reviews 7 21 12 10.0.0.1 HTTP/2\n"
    );
}

const STATUS: &str = "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER% \
    %TRAILER(X-COST)% %TRAILER(X-NONE?X-COST):2% %RESP(X-COST)%";

fn call_logged(act: impl FnOnce(&mut RequestLog)) -> String {
    let head = Head(HashMap::new());
    logged(
        AccessLogFormat::Pattern(STATUS.into()),
        &head,
        |request, _| act(request),
    )
}

#[test]
fn the_status_of_a_call_is_that_of_its_trailers_before_that_of_its_head() {
    let in_both = call_logged(|request| {
        request.call();
        request.response(200, |name| (name == "grpc-status").then_some(&b"0"[..]));
        request.trailers(|name| match name {
            "grpc-status" => Some(b"4"),
            "x-cost" => Some(b"high"),
            _ => None,
        });
    });
    assert_eq!(
        in_both,
        "DeadlineExceeded DEADLINE_EXCEEDED 4 4 high hi -\n"
    );
    let in_head = call_logged(|request| {
        request.call();
        request.response(200, |name| (name == "grpc-status").then_some(&b"17"[..]));
    });
    assert_eq!(in_head, "17 17 17 17 - - -\n", "one that has no name");
    let in_none = call_logged(|request| {
        request.call();
        request.response(404, |_| None);
    });
    assert_eq!(in_none, "Unimplemented UNIMPLEMENTED 12 12 - - -\n");
    let given_up = call_logged(|request| {
        request.call();
        request.response(200, |_| None);
        request.flag(ResponseFlag::DR);
    });
    assert_eq!(given_up, "Canceled CANCELLED 1 1 - - -\n");
    let no_call = call_logged(|request| {
        request.response(200, |name| (name == "grpc-status").then_some(&b"0"[..]));
    });
    assert_eq!(no_call, "- - - - - - -\n");
}

#[test]
fn the_number_of_a_status_is_a_number_in_json() {
    let fields = [("n", "%GRPC_STATUS_NUMBER%"), ("s", "%GRPC_STATUS%")];
    let fields = fields.map(|(name, format)| (name.to_owned(), format.to_owned()));
    let format = || AccessLogFormat::JsonPattern(fields.to_vec().into());
    let head = Head(HashMap::new());
    let line = logged(format(), &head, |request, _| {
        request.call();
        request.response(503, |_| None);
    });
    assert_eq!(line, "{\"n\":14,\"s\":\"Unavailable\"}\n");
    let line = logged(format(), &head, |request, _| {
        request.response(503, |_| None)
    });
    assert_eq!(line, "{\"n\":null,\"s\":null}\n");
}

#[test]
fn a_request_that_is_dropped_counts_once_as_cut_by_the_downstream() {
    let metrics = Metrics::new();
    let scope = Scope::build(&metrics, &"l".into(), Direction::Inbound, &[]).unwrap();
    let request = RequestLog::begin(&scope, &downstream(), &Head(HashMap::new()), Instant::now());
    assert_eq!(scope.listener.requests_active.get(), 1);
    drop(request);
    assert_eq!(scope.listener.requests_active.get(), 0);
    let totals = metrics
        .no_cluster()
        .http_totals(Direction::Inbound)
        .unwrap();
    assert_eq!(totals.flags[ResponseFlag::DC.index()], 1);
    assert_eq!(totals.duration.count(), 1);
}

#[test]
fn who_the_downstream_has_proved_to_be_is_logged() {
    let facts = Arc::new(TlsFacts {
        version: "TLSv1.3",
        cipher_suite: "TLS13_AES_128_GCM_SHA256".into(),
        alpn: None,
        server_name: Some("b.test".into()),
        own_uri: Some("spiffe://td/own".into()),
        peer: Some(Arc::new(PeerCertificate::sample())),
        resumed: false,
    });
    let format = "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %REQUESTED_SERVER_NAME% %DOWNSTREAM_PEER_URI_SAN% \
        %DOWNSTREAM_PEER_DNS_SAN% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_ISSUER% %DOWNSTREAM_PEER_SERIAL% \
        %DOWNSTREAM_PEER_FINGERPRINT_256% %DOWNSTREAM_LOCAL_URI_SAN%";
    for (tls, line) in [
        (
            Some(&facts),
            "TLSv1.3 TLS13_AES_128_GCM_SHA256 b.test spiffe://td/a,spiffe://td/b a.test CN=a CN=root 0a 00ff spiffe://td/own\n",
        ),
        (None, "- - - - - - - - - -\n"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = AccessLog {
            path: path.to_str().unwrap().into(),
            format: AccessLogFormat::Pattern(format.into()),
        };
        let metrics = Metrics::new();
        let scope = Scope::build(&metrics, &"l".into(), Direction::Inbound, &[log]).unwrap();
        let info = DownstreamInfo {
            tls,
            ..downstream()
        };
        let now = Instant::now();
        RequestLog::begin(&scope, &info, &Head([].into()), now).finish(now);
        metrics.logs.flush();
        assert_eq!(std::fs::read_to_string(path).unwrap(), line);
    }
}

#[test]
fn tokens_in_a_query_are_not_written() {
    for (path, shown) in [
        ("/a?b=c", "/a?b=c"),
        ("/a?access_token=x.y.z", "/a?access_token=-"),
        (
            "/a?b&access%5Ftoken=x&c=d&access_token=y",
            "/a?b&access_token=-&c=d&access_token=-",
        ),
        ("/access_token=x", "/access_token=x"),
    ] {
        assert_eq!(&*without_tokens(path.as_bytes()), shown.as_bytes());
    }
}
