//! Secrets over ADS: what is asked for, what waits for them, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};
use weft_config::tls::{SecretHolds, SecretName, SecretOrigin, WantedSecret};

use super::told::{TLS, certificate, cluster_from, issued, listener, listener_from, roots};
use super::*;
use crate::tls::tests::authority::Issued;

fn from_ads(name: &str) -> SecretName {
    SecretName {
        origin: SecretOrigin::Ads,
        name: name.into(),
    }
}

fn is_told(client: &mut Client, name: &str, holds: SecretHolds) -> bool {
    let secrets = client.core.builder().secrets().clone();
    secrets.is_told(&WantedSecret {
        name: from_ads(name),
        holds,
    })
}

fn asks(requests: &[Request], kind: Kind) -> bool {
    requests.iter().any(|request| match request {
        Request::Delta(it) => it.type_url == kind.type_url(),
        Request::Sotw(it) => it.type_url == kind.type_url(),
    })
}

fn named(request: &Request) -> &[String] {
    match request {
        Request::Delta(it) => &it.resource_names_subscribe,
        Request::Sotw(it) => &it.resource_names,
    }
}

impl Client {
    /// Takes the steps that are due though nothing happens, up to `end`; the requests that the last of them makes.
    async fn step_until(&mut self, end: Instant) -> Vec<Request> {
        loop {
            let requests = self.step_when_due().await;
            assert!(self.now <= end, "late by {:?}", self.now - end);
            if self.now == end {
                return requests;
            }
            assert!(requests.is_empty(), "{requests:?}");
        }
    }
}

fn connected(protocol: Protocol) -> Client {
    let mut client = Client::wildcard(protocol);
    client.core.stream_began();
    client.step();
    client.told(Kind::Cluster, Vec::new(), &[]);
    client
}

#[tokio::test(start_paused = true)]
async fn a_listener_waits_for_its_secret_and_is_acknowledged_when_it_is_in_force() {
    for protocol in [Protocol::Delta, Protocol::Sotw] {
        let mut client = connected(protocol);
        let requests = client.told(Kind::Listener, vec![("1", listener("l", "own"))], &[]);
        assert_eq!(reply(&requests, Kind::Listener), None);
        assert!(!client.core.ready);
        let asked: Vec<_> = requests
            .iter()
            .filter(|it| asks(std::slice::from_ref(it), Kind::Secret))
            .collect();
        let [asked] = asked[..] else {
            panic!("{requests:?}")
        };
        assert_eq!(named(asked), ["own"]);
        assert!(client.store.current().listeners.is_empty());
        let secret = certificate("own", &issued());
        let requests = client.told(Kind::Secret, vec![("1", secret)], &[]);
        assert_eq!(reply(&requests, Kind::Secret), Some(None));
        assert_eq!(reply(&requests, Kind::Listener), Some(None));
        assert!(client.store.current().listeners.contains_key("l"));
        assert!(client.core.ready);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_secret_ends_with_its_bound_and_not_with_that_of_other_waits() {
    let mut client = connected(Protocol::Delta);
    let began = client.now;
    client.told(Kind::Listener, vec![("1", listener("l", "own"))], &[]);
    let requests = client.step_until(began + Duration::from_secs(15)).await;
    assert_eq!(reply(&requests, Kind::Listener), Some(None));
    let view = client.store.current().listeners["l"].clone();
    let fault = view.chains[0].tls.as_ref().unwrap().current().unwrap_err();
    assert_eq!(
        fault.to_string(),
        "there is no certificate to show: secret \"own\" from ADS has not been told yet"
    );
    // It is told after all, and no other form of the listener is needed.
    client.told(
        Kind::Secret,
        vec![("1", certificate("own", &issued()))],
        &[],
    );
    assert!(view.chains[0].tls.as_ref().unwrap().current().is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_a_bound_a_listener_waits_until_it_is_told() {
    let mut client = connected(Protocol::Delta);
    let source = json!({ "ads": {}, "initial_fetch_timeout": "0s" });
    let listener = listener_from("l", "own", &source, "s");
    client.told(Kind::Listener, vec![("1", listener)], &[]);
    client.now += Duration::from_secs(100_000);
    client.step();
    assert_eq!(client.core.step(client.now).next, None);
    assert!(client.store.current().listeners.is_empty());
    client.told(
        Kind::Secret,
        vec![("1", certificate("own", &issued()))],
        &[],
    );
    assert!(client.store.current().listeners.contains_key("l"));
}

#[tokio::test(start_paused = true)]
async fn the_old_form_serves_while_the_new_one_waits_for_its_secret() {
    let mut client = connected(Protocol::Delta);
    client.told(Kind::Listener, vec![("1", listener("l", "old"))], &[]);
    client.told(
        Kind::Secret,
        vec![("1", certificate("old", &issued()))],
        &[],
    );
    let before = client.store.current().listeners["l"].clone();
    let requests = client.told(Kind::Listener, vec![("2", listener("l", "new"))], &[]);
    assert_eq!(subscribes(&requests, Kind::Secret), ["new"]);
    assert!(Arc::ptr_eq(&before, &client.store.current().listeners["l"]));
    let requests = client.told(
        Kind::Secret,
        vec![("1", certificate("new", &issued()))],
        &[],
    );
    assert_ne!(before.config, client.store.current().listeners["l"].config);
    // What nobody names any longer is given up, and asked for again when it is named again.
    let given_up: Vec<_> = requests
        .iter()
        .flat_map(|it| delta(it).resource_names_unsubscribe.clone())
        .collect();
    assert_eq!(given_up, ["old"]);
    assert!(!is_told(&mut client, "old", SecretHolds::Certificate));
    let requests = client.told(Kind::Listener, vec![("3", listener("l", "old"))], &[]);
    assert_eq!(subscribes(&requests, Kind::Secret), ["old"]);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_waits_for_its_secret_and_so_do_those_who_name_it() {
    let mut client = connected(Protocol::Delta);
    let requests = client.told(
        Kind::Cluster,
        vec![("1", cluster_from("c", "roots", "1s"))],
        &[],
    );
    assert_eq!(subscribes(&requests, Kind::Secret), ["roots"]);
    assert_eq!(reply(&requests, Kind::Cluster), None);
    client.told(Kind::Listener, vec![("1", api_listener("l", "r"))], &[]);
    let requests = client.told(Kind::Route, vec![("1", routes("r", "c"))], &[]);
    assert_eq!(reply(&requests, Kind::Route), None);
    client.now += crate::snapshot::WAIT_MAX;
    client.step();
    assert!(
        client.store.current().api_listeners.is_empty(),
        "not before the bound of secrets"
    );
    let requests = client.told(Kind::Secret, vec![("1", roots("roots"))], &[]);
    assert_eq!(reply(&requests, Kind::Cluster), Some(None));
    assert_eq!(reply(&requests, Kind::Route), Some(None));
    assert!(client.store.current().api_listeners.contains_key("l"));
}

#[tokio::test(start_paused = true)]
async fn a_changed_cluster_serves_in_its_old_form_until_its_new_secret_is_told() {
    let mut client = connected(Protocol::Delta);
    client.told(
        Kind::Cluster,
        vec![("1", cluster_from("c", "a", "1s"))],
        &[],
    );
    client.told(Kind::Secret, vec![("1", roots("a"))], &[]);
    let timeout = |client: &Client| {
        let snapshot = client.store.current();
        snapshot.cluster("c").unwrap().config().connect_timeout
    };
    let requests = client.told(
        Kind::Cluster,
        vec![("2", cluster_from("c", "b", "2s"))],
        &[],
    );
    assert_eq!(reply(&requests, Kind::Cluster), None);
    assert_eq!(timeout(&client), Duration::from_secs(1));
    let requests = client.told(Kind::Secret, vec![("1", roots("b"))], &[]);
    assert_eq!(timeout(&client), Duration::from_secs(2));
    assert_eq!(reply(&requests, Kind::Cluster), Some(None));
    // Nobody tells this one: its wait ends by itself.
    client.told(
        Kind::Cluster,
        vec![("3", cluster_from("c", "d", "3s"))],
        &[],
    );
    assert_eq!(timeout(&client), Duration::from_secs(2));
    let requests = client
        .step_until(client.now + Duration::from_secs(15))
        .await;
    assert_eq!(timeout(&client), Duration::from_secs(3));
    assert_eq!(reply(&requests, Kind::Cluster), Some(None));
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_no_use_is_refused_without_a_word_of_its_key_and_the_last_good_one_stays() {
    let mut client = connected(Protocol::Delta);
    client.told(Kind::Listener, vec![("1", listener("l", "own"))], &[]);
    let good = issued();
    client.told(Kind::Secret, vec![("1", certificate("own", &good))], &[]);
    let other = Issued {
        chain: good.chain.clone(),
        key: issued().key,
    };
    let no_pem = json!({ "name": "own", "tls_certificate": {
        "certificate_chain": { "inline_string": other.key.replace('\n', " ") },
        "private_key": { "inline_string": other.key },
    } });
    let tickets = "{name: own, session_ticket_keys: {keys: [{inline_string: x}]}}";
    for (told, why) in [
        (
            certificate("own", &other),
            "own: the private key is not that of the certificate",
        ),
        (
            roots("own"),
            "own: must hold a tls_certificate, as which it is named",
        ),
        (
            packed(Kind::Secret, &no_pem.to_string()),
            "own: tls_certificate.certificate_chain: ",
        ),
        (
            packed(Kind::Secret, tickets),
            "own: session_ticket_keys: is not supported yet",
        ),
        (
            packed(
                Kind::Secret,
                "{name: own, generic_secret: {secret: {inline_string: x}}}",
            ),
            "own: generic_secret: is not supported yet",
        ),
    ] {
        let mut requests = Vec::new();
        let log = logged(|| requests = client.told(Kind::Secret, vec![("2", told)], &[]));
        let error = reply(&requests, Kind::Secret).unwrap().unwrap();
        assert!(error.starts_with(why), "{error}");
        let shown = format!(
            "{error}{log}{:?}{:?}",
            client.core,
            client.core.status.report()
        );
        for key in [&good.key, &other.key] {
            let middle = key.lines().nth(1).unwrap();
            assert!(!shown.contains(middle), "{why}");
            let bytes = format!("{:?}", middle.as_bytes());
            assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{why}");
        }
        let view = client.store.current().listeners["l"].clone();
        assert!(view.chains[0].tls.as_ref().unwrap().current().is_ok());
    }
    let refusals = client.core.status.report().refusals;
    assert_eq!(refusals.len(), 1);
    // A good one makes all well.
    let requests = client.told(
        Kind::Secret,
        vec![("3", certificate("own", &issued()))],
        &[],
    );
    assert_eq!(reply(&requests, Kind::Secret), Some(None));
    assert_eq!(client.core.status.report().refusals, []);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_asked_for_is_left_aside_and_what_was_removed_stays_in_force() {
    let mut client = connected(Protocol::Delta);
    client.told(Kind::Listener, vec![("1", listener("l", "own"))], &[]);
    let told = vec![
        ("1", certificate("own", &issued())),
        ("1", certificate("other", &issued())),
    ];
    let requests = client.told(Kind::Secret, told, &[]);
    assert_eq!(reply(&requests, Kind::Secret), Some(None));
    assert!(!is_told(&mut client, "other", SecretHolds::Certificate));
    client.told(Kind::Secret, Vec::new(), &["own"]);
    assert!(is_told(&mut client, "own", SecretHolds::Certificate));
    // Nor is it said to be held, so that a new stream tells it again.
    client.core.stream_began();
    let requests = client.step();
    let asked = requests
        .iter()
        .find(|it| asks(std::slice::from_ref(it), Kind::Secret));
    let asked = delta(asked.unwrap());
    assert_eq!(asked.resource_names_subscribe, ["own"]);
    assert!(asked.initial_resource_versions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_key_is_written_to_disk() {
    let mut client = connected(Protocol::Delta);
    let own = issued();
    let mut inline: Value = serde_json::from_str(
        r#"{"name": "inline", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}"#,
    )
    .unwrap();
    inline["filter_chains"] = json!([{
        "filters": [{ "name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "s", "cluster": "up",
        } }],
        "transport_socket": { "name": "tls", "typed_config": {
            "@type": format!("{TLS}.DownstreamTlsContext"),
            "common_tls_context": { "tls_certificates": [own.json()] },
        } },
    }]);
    let inline = packed(Kind::Listener, &inline.to_string());
    let told = vec![("1", listener("l", "own")), ("1", inline)];
    client.told(Kind::Listener, told, &[]);
    client.told(Kind::Secret, vec![("1", certificate("own", &own))], &[]);
    assert_eq!(client.store.current().listeners.len(), 2);
    let saved = client.core.to_save();
    let names: Vec<_> = saved.resources.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["l"], "the one that only says who tells the key");
    let bytes = saved.clone().into_bytes("test");
    let middle = own.key.lines().nth(1).unwrap().as_bytes();
    assert!(!bytes.windows(middle.len()).any(|it| it == middle));
    // After a restart the listener waits for its secret again.
    let mut client = Client::wildcard(Protocol::Delta);
    client.core.restore(saved, client.now);
    client.step();
    assert!(client.store.current().listeners.is_empty());
    client.core.stream_began();
    assert_eq!(subscribes(&client.step(), Kind::Secret), ["own"]);
    client.told(Kind::Cluster, Vec::new(), &[]);
    assert!(client.store.current().listeners.is_empty());
    client.told(Kind::Secret, vec![("1", certificate("own", &own))], &[]);
    assert!(client.store.current().listeners.contains_key("l"));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_rotations_leave_the_last_and_nothing_else() {
    let mut client = connected(Protocol::Delta);
    let told = vec![("1", listener("l", "own")), ("1", listener("m", "still"))];
    client.told(Kind::Listener, told, &[]);
    client.told(
        Kind::Secret,
        vec![("1", certificate("still", &issued()))],
        &[],
    );
    let forms = [certificate("own", &issued()), certificate("own", &issued())];
    for turn in 0..1_000 {
        let told = vec![("1", forms[turn % 2].clone())];
        let requests = client.told(Kind::Secret, told, &[]);
        assert_eq!(reply(&requests, Kind::Secret), Some(None));
    }
    assert_eq!(client.core.accepted().lock().secrets_told(), 2);
    let shown = client.core.builder().secrets().shown();
    assert_eq!(shown.len(), 2);
    assert!(client.core.builder().secrets().faults().is_empty());
}
