use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tls::PeerCertificate;

fn state(quits: Arc<AtomicU32>) -> Arc<AdminState> {
    Arc::new(AdminState {
        metrics: Metrics::new(),
        ready: Box::new(|| Err("no listeners yet".into())),
        state: Box::new(|| "INITIALIZING"),
        node: Box::new(|| Value::Null),
        config_dump: Box::new(|| {
            vec![
                serde_json::json!({"@type": "a", "refused": [], "dynamic_listeners": [{"name": "in"}]}),
                serde_json::json!({"@type": "b", "refused": [], "dynamic_route_configs": [{"name": "rt"}]}),
            ]
        }),
        clusters: Box::new(|| vec![without_endpoints()]),
        secrets: Box::new(|| vec![secret()]),
        listeners: Box::new(|| vec![("in".into(), SocketAddr::from(([127, 0, 0, 1], 15006)))]),
        logging: Box::new(|level| match level {
            Some("loud") => Err("no such level: loud".into()),
            other => Ok(other.unwrap_or("info").to_owned()),
        }),
        drain: Box::new(|| ()),
        quit: Box::new(move || {
            quits.fetch_add(1, Ordering::Relaxed);
        }),
    })
}

/// A certificate of ours that expired long ago.
fn secret() -> ShownSecret {
    ShownSecret {
        place: "/own.pem".to_owned(),
        own: true,
        certificates: vec![PeerCertificate::sample()],
    }
}

/// A cluster of the bootstrap that nothing is known of yet.
fn without_endpoints() -> ClusterShown {
    use weft_config::diag::{Diagnostics, FieldPath};
    let proto = weft_xds_proto::pb::envoy::config::cluster::v3::Cluster {
        name: "empty".to_owned(),
        load_assignment: Some(Default::default()),
        ..Default::default()
    };
    let mut diag = Diagnostics::new();
    let config = weft_config::cluster::Cluster::parse(&proto, &FieldPath::root(), &mut diag)
        .unwrap_or_else(|| panic!("{:?}", diag.findings()));
    let now = tokio::time::Instant::now();
    ClusterShown {
        cluster: Cluster::new(
            Arc::new(config),
            &crate::tls::Secrets::new(),
            &Metrics::new(),
            now,
        ),
        added_via_api: false,
    }
}

struct Bench {
    address: SocketAddr,
    quits: Arc<AtomicU32>,
}

impl Bench {
    async fn new(pages: Pages) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let quits: Arc<AtomicU32> = Arc::default();
        tokio::spawn(serve(listener, state(quits.clone()), pages));
        Self { address, quits }
    }

    async fn ask(&self, line: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn what_changes_something_asks_for_post() {
    let bench = Bench::new(Pages::Admin).await;
    for path in ["/quitquitquit", "/drain_listeners", "/logging?level=debug"] {
        assert!(
            bench
                .ask(&format!("GET {path}"), "localhost")
                .await
                .starts_with("HTTP/1.1 405"),
            "{path}"
        );
    }
    assert_eq!(bench.quits.load(Ordering::Relaxed), 0);
    assert!(
        bench
            .ask("POST /quitquitquit", "127.0.0.1:15000")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(bench.quits.load(Ordering::Relaxed), 1);
    assert!(
        bench
            .ask("POST /logging?level=loud", "localhost")
            .await
            .contains("no such level: loud")
    );
}

#[tokio::test]
async fn certificates_are_shown_in_envoys_shape() {
    let bench = Bench::new(Pages::Admin).await;
    let answer = bench.ask("GET /certs", "localhost").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let shown: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        shown["certificates"][0]["cert_chain"][0],
        serde_json::json!({
            "path": "/own.pem",
            "serial_number": "0a",
            "subject": "CN=a",
            "issuer": "CN=root",
            "subject_alt_names": [{ "uri": "spiffe://td/a" }, { "dns": "a.test" }, { "uri": "spiffe://td/b" }],
            "days_until_expiration": "0",
            "valid_from": "1970-01-01T00:00:00Z",
            "expiration_time": "1970-01-02T00:00:00Z",
        })
    );
    assert_eq!(shown["certificates"][0]["ca_cert"], serde_json::json!([]));
}

#[tokio::test]
async fn a_name_that_was_made_to_point_at_loopback_is_refused() {
    let bench = Bench::new(Pages::Admin).await;
    for host in [
        "evil.example",
        "evil.example:15000",
        "localhost.evil.example",
        "",
    ] {
        assert!(
            bench
                .ask("POST /quitquitquit", host)
                .await
                .starts_with("HTTP/1.1 403"),
            "{host}"
        );
    }
    for host in ["localhost", "LOCALHOST:15000", "127.0.0.1", "[::1]:15000"] {
        assert!(
            bench
                .ask("GET /live", host)
                .await
                .starts_with("HTTP/1.1 200"),
            "{host}"
        );
    }
    assert_eq!(bench.quits.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_metrics_port_has_three_pages_and_no_switch() {
    let bench = Bench::new(Pages::Metrics).await;
    assert!(
        bench
            .ask("GET /metrics", "localhost")
            .await
            .contains("# EOF")
    );
    let ready = bench.ask("GET /ready", "localhost").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("no listeners yet"),
        "{ready}"
    );
    assert!(
        bench
            .ask("POST /quitquitquit", "localhost")
            .await
            .starts_with("HTTP/1.1 404")
    );
    assert_eq!(bench.quits.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn pages_have_envoys_shapes() {
    let bench = Bench::new(Pages::Admin).await;
    let listeners = bench.ask("GET /listeners?format=json", "localhost").await;
    assert!(
        listeners.contains("\"listener_statuses\"") && listeners.contains("15006"),
        "{listeners}"
    );
    assert!(
        bench
            .ask("GET /clusters?format=json", "localhost")
            .await
            .contains("\"cluster_statuses\"")
    );
    assert!(
        bench
            .ask("GET /tap", "localhost")
            .await
            .starts_with("HTTP/1.1 501")
    );
    assert!(
        bench
            .ask("GET /nothing", "localhost")
            .await
            .starts_with("HTTP/1.1 404")
    );
}

#[tokio::test]
async fn a_cluster_without_endpoints_is_shown() {
    let bench = Bench::new(Pages::Admin).await;
    let text = bench.ask("GET /clusters", "localhost").await;
    for line in [
        "empty::added_via_api::false\n",
        "empty::endpoints::0\n",
        "empty::default_priority::max_requests::1024\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let json = bench.ask("GET /clusters?format=json", "localhost").await;
    assert!(
        json.contains("\"name\": \"empty\"") && json.contains("\"added_via_api\": false"),
        "{json}"
    );
}

#[tokio::test]
async fn one_list_of_the_configuration_can_be_asked_for() {
    let bench = Bench::new(Pages::Admin).await;
    let whole = bench.ask("GET /config_dump", "localhost").await;
    assert!(
        whole.contains("\"in\"") && whole.contains("\"rt\""),
        "{whole}"
    );
    let path = "GET /config_dump?include_eds&resource=dynamic_route_configs";
    let routes = bench.ask(path, "localhost").await;
    assert!(
        !routes.contains("\"in\"") && routes.contains("\"rt\""),
        "{routes}"
    );
    let none = bench
        .ask("GET /config_dump?resource=nothing", "localhost")
        .await;
    assert!(none.starts_with("HTTP/1.1 404"), "{none}");
    assert!(
        none.contains("it has dynamic_listeners, dynamic_route_configs"),
        "{none}"
    );
}

#[tokio::test]
async fn whoever_holds_all_connections_keeps_nobody_out() {
    let bench = Bench::new(Pages::Metrics).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\n")
            .await
            .unwrap();
        held.push(stream);
    }
    let ready = tokio::time::timeout(
        std::time::Duration::from_secs(5),
        bench.ask("GET /live", "localhost"),
    );
    assert!(ready.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_page_of_the_web_changes_nothing() {
    let bench = Bench::new(Pages::Admin).await;
    for origin in ["https://evil.example", "null", "http://127.0.0.1.evil", ""] {
        let host = format!("127.0.0.1:15000\r\norigin: {origin}");
        let answer = bench.ask("POST /quitquitquit", &host).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{origin}: {answer}");
    }
    assert_eq!(bench.quits.load(Ordering::Relaxed), 0);
    let own = "127.0.0.1:15000\r\norigin: http://127.0.0.1:15000";
    let answer = bench.ask("POST /quitquitquit", own).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
