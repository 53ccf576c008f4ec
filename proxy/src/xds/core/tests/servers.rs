//! Secrets from servers of their own and from files: who is listened to, and what comes of what they tell.

use serde_json::{Value, json};
use weft_config::diag::FieldPath;
use weft_config::resource::Resource;
use weft_config::tls::{SdsServer, SecretOrigin};

use super::told::{certificate, issued, listener_from, roots};
use super::*;

fn from_server(cluster: &str) -> Value {
    json!({ "api_config_source": {
        "api_type": "DELTA_GRPC", "transport_api_version": "V3",
        "grpc_services": [{ "envoy_grpc": { "cluster_name": cluster } }],
    } })
}

/// The secret `name` of the server behind the cluster `agent`.
fn of_agent(name: &str) -> Arc<SecretName> {
    let server = SdsServer {
        cluster: "agent".into(),
        delta: true,
    };
    Arc::new(SecretName {
        origin: SecretOrigin::Server(server.into()),
        name: name.into(),
    })
}

/// A client whose bootstrap has the cluster `agent`.
fn client() -> Client {
    let mut client = Client::wildcard(Protocol::Delta);
    let packed = packed(Kind::Cluster, "{name: agent, type: STATIC}");
    let read = Resource::parse(&packed, &FieldPath::root(), &mut Diagnostics::new());
    let Some(Resource::Cluster(cluster)) = read else {
        panic!("no cluster")
    };
    client.core.put_static_cluster(cluster, client.now);
    client.core.stream_began();
    client.step();
    client.told(Kind::Cluster, Vec::new(), &[]);
    client
}

impl Client {
    fn listens(&mut self, name: &str, secret: &str, source: &Value) -> Vec<Request> {
        let listener = listener_from(name, secret, source, "s");
        self.told(Kind::Listener, vec![("1", listener)], &[])
    }

    /// A response of the server on the stream for this secret; the requests that follow.
    fn told_on(&mut self, stream: &str, kind: Kind, resource: Any) -> Vec<Request> {
        self.nonces += 1;
        let received = Received {
            type_url: kind.type_url().to_owned(),
            nonce: self.nonces.to_string(),
            version: String::new(),
            resources: vec![Incoming {
                name: None,
                version: "1".to_owned(),
                packed: Some(resource),
                ttl: None,
            }],
            removed: Vec::new(),
            errors: Vec::new(),
            is_full_state: false,
        };
        self.core.receive_secrets(&of_agent(stream), received);
        self.requests_to_server()
    }

    fn requests_to_server(&mut self) -> Vec<Request> {
        let step = self.core.step(self.now);
        step.to_servers
            .into_iter()
            .map(|(_, request)| request)
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_is_asked_for_each_secret_while_somebody_names_it() {
    let mut client = client();
    client.listens("l", "one", &from_server("agent"));
    client.listens("m", "two", &from_server("agent"));
    client.listens("n", "two", &from_server("agent"));
    let open = ["one", "two"].map(|name| TellerChange::Open(of_agent(name)));
    assert_eq!(client.core.take_teller_changes(), open);
    client.core.server_began(&of_agent("one"));
    let requests = client.requests_to_server();
    assert_eq!(subscribes(&requests, Kind::Secret), ["one"]);
    assert!(delta(&requests[0]).node.is_some());
    let told = client.told_on("one", Kind::Secret, certificate("one", &issued()));
    assert_eq!(reply(&told, Kind::Secret), Some(None));
    let in_force = client.store.current().listeners.clone();
    assert!(in_force.contains_key("l") && in_force.len() == 1);
    // What another stream is for is left aside here.
    client.told_on("one", Kind::Secret, certificate("two", &issued()));
    assert_eq!(client.store.current().listeners.len(), 1);
    client.told(Kind::Listener, Vec::new(), &["m"]);
    assert_eq!(client.core.take_teller_changes(), []);
    client.told(Kind::Listener, Vec::new(), &["n"]);
    let close = [TellerChange::Close(of_agent("two"))];
    assert_eq!(client.core.take_teller_changes(), close);
    assert_eq!(client.core.status.report().streams.len(), 1);
    // What is still on its way finds nobody.
    let told = client.told_on("two", Kind::Secret, certificate("two", &issued()));
    assert!(told.is_empty());
}

#[tokio::test(start_paused = true)]
async fn there_are_not_more_streams_than_may_be() {
    // They are dear to build, and would be for each listener.
    let _held = weft_xds_proto::json::Descriptors::load();
    let mut client = client();
    for turn in 0..1_000 {
        let requests = client.listens(
            &format!("l{turn}"),
            &format!("s{turn}"),
            &from_server("agent"),
        );
        assert_eq!(reply(&requests, Kind::Listener), None);
    }
    let requests = client.listens("more", "more", &from_server("agent"));
    let refused = client.core.status.report().refusals;
    assert!(
        refused[0].1.contains("servers tell 1000 secrets already"),
        "{requests:?} {refused:?}"
    );
    client.listens("same", "s7", &from_server("agent"));
    assert_eq!(client.core.status.report().refusals.len(), 1);
    let open = client.core.take_teller_changes();
    assert_eq!(open.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn what_a_server_of_secrets_tells_besides_is_refused() {
    let mut client = client();
    client.listens("l", "own", &from_server("agent"));
    client.core.server_began(&of_agent("own"));
    client.requests_to_server();
    let told = client.told_on("own", Kind::Cluster, cluster("c"));
    assert!(reply(&told, Kind::Cluster).unwrap().is_some());
    assert!(client.store.current().cluster("c").is_none());
    let told = client.told_on("own", Kind::Secret, roots("own"));
    let refused = "own: must hold a tls_certificate, as which it is named".to_owned();
    assert_eq!(reply(&told, Kind::Secret), Some(Some(refused)));
    let told = client.told_on("own", Kind::Secret, certificate("wrong", &issued()));
    assert_eq!(reply(&told, Kind::Secret), Some(None));
    assert!(client.store.current().listeners.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_secret_of_one_teller_is_not_that_of_another() {
    let mut client = client();
    client.listens("l", "own", &from_server("agent"));
    client.listens("m", "own", &json!({ "ads": {} }));
    client.core.server_began(&of_agent("own"));
    client.told_on("own", Kind::Secret, certificate("own", &issued()));
    assert!(client.store.current().listeners.contains_key("l"));
    assert!(!client.store.current().listeners.contains_key("m"));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_force_stays_so_while_a_server_is_away() {
    let mut client = client();
    client.listens("l", "own", &from_server("agent"));
    client.core.server_began(&of_agent("own"));
    client.told_on("own", Kind::Secret, certificate("own", &issued()));
    client.core.server_ended(&of_agent("own"), "gone");
    assert!(client.requests_to_server().is_empty());
    let report = &client.core.status.report().streams[0];
    assert_eq!(report.last_error.as_deref(), Some("gone"));
    assert!(!report.connected);
    let view = client.store.current().listeners["l"].clone();
    assert!(view.chains[0].tls.as_ref().unwrap().current().is_ok());
    // Back again, it learns what is held.
    client.core.server_began(&of_agent("own"));
    let requests = client.requests_to_server();
    let held = &delta(&requests[0]).initial_resource_versions;
    assert_eq!(held.get("own").map(String::as_str), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_listener_whose_secrets_nobody_can_tell_is_refused() {
    let mut client = client();
    let requests = client.listens("l", "own", &from_server("agen"));
    let why = "l: transport_socket: secret \"own\" from cluster \"agen\": \"agen\" is not among the static clusters, did you \
               mean \"agent\"?";
    assert_eq!(reply(&requests, Kind::Listener), Some(Some(why.to_owned())));
    client.core.options.has_ads = false;
    let requests = client.listens("l", "own", &json!({ "ads": {} }));
    let why =
        "l: transport_socket: secret \"own\" from ADS: ads is wanted, but there is no ads_config";
    assert_eq!(reply(&requests, Kind::Listener), Some(Some(why.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_file_is_watched_while_something_is_wanted_of_it() {
    let mut client = client();
    let path: Arc<str> = "/secrets.yaml".into();
    let source = json!({ "path_config_source": { "path": &*path } });
    client.listens("l", "own", &source);
    let watch = [TellerChange::Watch(path.clone())];
    assert_eq!(client.core.take_teller_changes(), watch);
    let file = |secret| Received {
        type_url: Kind::Secret.type_url().to_owned(),
        nonce: String::new(),
        version: "1".to_owned(),
        resources: vec![Incoming {
            name: None,
            version: "1".to_owned(),
            packed: Some(secret),
            ttl: None,
        }],
        removed: Vec::new(),
        errors: Vec::new(),
        is_full_state: true,
    };
    let good = file(certificate("own", &issued()));
    assert_eq!(client.core.receive_secret_file(&path, good), Ok(()));
    client.step();
    assert!(client.store.current().listeners.contains_key("l"));
    let bad = client.core.receive_secret_file(&path, file(roots("own")));
    assert!(bad.unwrap_err().contains("must hold a tls_certificate"));
    let empty = Received {
        resources: Vec::new(),
        ..file(roots("own"))
    };
    assert_eq!(client.core.receive_secret_file(&path, empty), Ok(()));
    let view = client.store.current().listeners["l"].clone();
    assert!(view.chains[0].tls.as_ref().unwrap().current().is_ok());
    // Another secret of it is looked for in what it holds already.
    client.listens("m", "two", &source);
    assert_eq!(client.core.take_teller_changes(), watch);
    client.told(Kind::Listener, Vec::new(), &["l"]);
    assert_eq!(client.core.take_teller_changes(), []);
    client.told(Kind::Listener, Vec::new(), &["m"]);
    assert_eq!(
        client.core.take_teller_changes(),
        [TellerChange::Leave(path)]
    );
}
