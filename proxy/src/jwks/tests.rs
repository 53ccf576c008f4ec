use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::policy::authn::JwtAuthn;

use super::*;
use crate::snapshot::Builder;
use crate::tls::Secrets;

const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A server of keys: what it answers, and how often it was asked.
struct Source {
    answer: RefCell<String>,
    asked: Cell<u32>,
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn serve(listener: TcpListener, source: Rc<Source>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        source.asked.set(source.asked.get() + 1);
        let mut request = [0; 1024];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].starts_with(b"GET /jwks?a=1 HTTP/1.1\r\nhost: keys.test\r\n"));
        let answer = source.answer.borrow().clone();
        // Who has heard enough closes.
        drop(stream.write_all(answer.as_bytes()).await);
    }
}

struct Case {
    source: Rc<Source>,
    keys: Arc<Keys>,
    stats: Arc<KeysStats>,
    began: Instant,
    attempts: u64,
}

impl Case {
    async fn new(answer: String, more: serde_json::Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let source = Rc::new(Source {
            answer: RefCell::new(answer),
            asked: Cell::new(0),
        });
        drop(spawn_local(serve(listener, source.clone())));
        let (store, metrics) = (SnapshotStore::new(), Metrics::new());
        let mut builder = Builder::new(store.clone(), metrics.clone(), Secrets::new());
        let cluster = json!({ "name": "keys", "type": "STATIC", "load_assignment": { "cluster_name": "keys", "endpoints": [{ "lb_endpoints": [{ "endpoint": {
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": at.port() } } } }] }] } });
        let cluster = weft_xds_proto::json::from_json(&cluster).unwrap();
        let mut diag = Diagnostics::new();
        let cluster = weft_config::cluster::Cluster::parse(&cluster, &FieldPath::root(), &mut diag);
        let now = Instant::now();
        builder.put_cluster(Arc::new(cluster.unwrap()), now);
        builder.commit(now);
        let mut remote = json!({ "http_uri": { "uri": "http://keys.test/jwks?a=1", "cluster": "keys", "timeout": "1s" } });
        for (name, value) in more.as_object().unwrap() {
            remote[name] = value.clone();
        }
        let filter = weft_xds_proto::json::from_json(
            &json!({ "providers": { "p": { "remote_jwks": remote } } }),
        )
        .unwrap();
        let filter = JwtAuthn::parse(&filter, &FieldPath::root(), &mut diag).unwrap();
        let ring = builder.keys().clone();
        let keys = ring.keys(&filter.providers[0].keys);
        drop(spawn_local(keep(ring, store, metrics.clone())));
        let stats = metrics.keys(&"keys".into());
        Self {
            source,
            keys,
            stats,
            began: now,
            attempts: 0,
        }
    }

    /// Waits for the next attempt to end, and tells how often the source was asked by then.
    async fn next(&mut self) -> u32 {
        let newer = self
            .keys
            .newer_than(self.attempts, Instant::now() + Duration::from_secs(3600));
        tokio::time::timeout(Duration::from_secs(20), newer)
            .await
            .expect("an attempt");
        self.attempts += 1;
        self.source.asked.get()
    }

    fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn keys_are_fetched_again_before_they_are_too_old() {
    run(async {
        let mut case = Case::new(ok(KEYS), json!({ "cache_duration": "1s" })).await;
        assert_eq!(case.next().await, 1);
        assert!(case.has_keys());
        assert_eq!(case.next().await, 2);
    });
}

#[test]
fn keys_stay_while_their_source_is_away_or_talks_nonsense() {
    run(async {
        let mut case = Case::new(
            ok(KEYS),
            json!({ "cache_duration": "1s", "async_fetch": { "fast_listener": true, "failed_refetch_duration": "0.1s" } }),
        )
        .await;
        case.next().await;
        for nonsense in [
            "HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "nonsense".to_owned(),
            ok("{}"),
            ok(r#"{"keys":[]}"#),
            ok(&" ".repeat(JWKS_BYTES_MAX + 1)),
        ] {
            *case.source.answer.borrow_mut() = nonsense;
            case.next().await;
            assert!(case.has_keys());
        }
        assert_eq!(
            (
                case.stats.fetched.get(),
                case.stats.failed.get(),
                case.stats.unusable.get()
            ),
            (1, 3, 2)
        );
        *case.source.answer.borrow_mut() = ok(KEYS);
        case.next().await;
        assert_eq!(case.stats.fetched.get(), 2);
    });
}

#[test]
fn an_attempt_is_made_again_as_often_as_that_is_asked_for() {
    run(async {
        let away = "HTTP/1.1 500 Away\r\ncontent-length: 0\r\n\r\n".to_owned();
        let retry = json!({ "num_retries": 2, "retry_back_off": { "base_interval": "0.01s" } });
        let mut case = Case::new(away, json!({ "retry_policy": retry })).await;
        assert_eq!(case.next().await, 3);
        assert!(!case.has_keys());
        assert_eq!(case.stats.failed.get(), 1);
    });
}

#[test]
fn whoever_asks_for_newer_keys_has_them_fetched_once_in_a_while() {
    run(async {
        let mut case = Case::new(ok(KEYS), json!({})).await;
        case.next().await;
        for _ in 0..100 {
            case.keys.asked().notify_one();
        }
        assert_eq!(case.next().await, 2);
        assert!(case.began.elapsed() >= ASKED_EVERY);
    });
}

#[test]
fn nobody_is_asked_for_keys_that_nobody_uses() {
    run(async {
        let mut case = Case::new(ok(KEYS), json!({ "cache_duration": "1s" })).await;
        case.next().await;
        let Case { keys, stats, .. } = case;
        drop(keys);
        // Whoever kept them ends, and with him his share of the counts.
        while Arc::strong_count(&stats) > 1 {
            tokio::task::yield_now().await;
        }
    });
}
