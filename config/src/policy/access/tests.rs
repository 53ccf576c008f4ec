mod faults;
mod laws;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use weft_xds_proto::pb::envoy::config::rbac::v3::Rbac;

use super::{AccessRules, Asked, Claims, Peer};
use crate::diag::{Diagnostics, FieldPath};
use crate::route::RequestHead;
use crate::secret::SanKind;
use crate::testing::{findings, message};

/// A request, or a connection where it has no head.
struct Case {
    names: Vec<(SanKind, Arc<str>)>,
    subject: &'static str,
    encrypted: bool,
    source: &'static str,
    remote: &'static str,
    destination: SocketAddr,
    server_name: &'static str,
    head: Option<Head>,
    claims: Option<Claims>,
}

struct Head {
    method: &'static str,
    authority: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

impl RequestHead for Head {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn authority(&self) -> &[u8] {
        self.authority.as_bytes()
    }

    fn path_and_query(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.headers.iter().filter(|(of, _)| *of == name);
        found.next().map(|(_, value)| value.as_bytes())
    }
}

/// `GET /items?q=1` of `spiffe://td/ns/a/sa/web`, from 10.1.2.3 (for 192.0.2.7) to 10.9.9.9:8080.
fn request() -> Case {
    Case {
        names: vec![(SanKind::Uri, "spiffe://td/ns/a/sa/web".into())],
        subject: "CN=web",
        encrypted: true,
        source: "10.1.2.3",
        remote: "192.0.2.7",
        destination: "10.9.9.9:8080".parse().unwrap(),
        server_name: "shop.test",
        head: Some(Head {
            method: "GET",
            authority: "shop.test:8080",
            path: "/items?q=1",
            headers: vec![("x-team", "red")],
        }),
        claims: Some(Claims(smallvec::smallvec![(
            "payload".into(),
            Arc::new(
                json!({ "iss": "https://issuer", "groups": ["dev", "ops"], "age": 41, "admin": true, "none": null }),
            ),
        )])),
    }
}

impl Case {
    fn plain(mut self) -> Self {
        (self.encrypted, self.server_name) = (false, "");
        self.names.clear();
        self.subject = "";
        self
    }

    fn connection(mut self) -> Self {
        (self.head, self.claims) = (None, None);
        self
    }

    fn with<R>(&self, ask: impl FnOnce(&Asked<'_>) -> R) -> R {
        ask(&Asked {
            peer: self.encrypted.then_some(Peer {
                names: &self.names,
                subject: self.subject,
            }),
            source: self.source.parse().unwrap(),
            remote: self.remote.parse().unwrap(),
            destination: self.destination,
            server_name: self.server_name,
            head: self.head.as_ref().map(|head| head as &dyn RequestHead),
            claims: self.claims.as_ref(),
        })
    }

    /// Whether they may, and which policy matched.
    fn judged(&self, rules: &AccessRules) -> (bool, Option<String>) {
        self.with(|asked| {
            let judgement = rules.judge(asked);
            (judgement.allowed, judgement.policy.map(|it| it.to_string()))
        })
    }
}

fn read(value: Value) -> (Option<AccessRules>, Vec<String>) {
    let proto: Rbac = message(value);
    let mut diag = Diagnostics::new();
    let rules = AccessRules::parse(&proto, &FieldPath::root(), &mut diag);
    (rules, findings(&diag))
}

fn rules(value: Value) -> AccessRules {
    let (rules, found) = read(value);
    assert_eq!(found, Vec::<String>::new());
    rules.unwrap()
}

/// Rules of one policy `p` with one permission and one principal.
fn one(action: &str, permission: &Value, principal: &Value) -> Value {
    json!({ "action": action, "policies": { "p": { "permissions": [permission], "principals": [principal] } } })
}
