//! A call that is asked about.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use weft_config::gateway_api::ServiceName;
use weft_config::policy::access::Claims;
use weft_config::route::RequestHead;
use weft_config::secret::SanKind;
use weft_config::spiffe::{SpiffeId, TrustDomain};

/// May this caller make this call?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Who calls.
    pub from: Caller,
    /// Whom: a service, as `NAME` or `NAME.NAMESPACE`.
    #[serde(with = "service_name")]
    #[schema(value_type = String)]
    pub to: ServiceName,
    /// On which port of it; not given: its only one.
    #[serde(default)]
    pub port: Option<u16>,
    /// How. This and all that follows means nothing to ports of bytes.
    #[serde(default = "get")]
    pub method: String,
    /// Path and query.
    #[serde(default = "root")]
    pub path: String,
    /// The host that is asked for; not given: the service and its port.
    #[serde(default)]
    pub host: Option<String>,
    /// Headers, in lower case, the values of each in order.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// What the caller's verified token says.
    #[serde(default)]
    pub claims: BTreeMap<String, Vec<String>>,
}

fn get() -> String {
    "GET".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

/// Who calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// His SPIFFE id; not given: he proves none.
    #[serde(default)]
    pub identity: Option<String>,
    /// His address; not given: 127.0.0.1.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
}

impl Caller {
    /// The names in his certificate; `None`: he has none.
    pub(super) fn names(&self) -> Option<Vec<(SanKind, Arc<str>)>> {
        let identity = self.identity.as_deref()?;
        Some(vec![(SanKind::Uri, identity.into())])
    }

    /// Whether what he shows is of another trust domain than `own`.
    pub(super) fn is_foreign(&self, own: &TrustDomain) -> bool {
        let id = self.identity.as_deref().map(SpiffeId::parse);
        id.is_some_and(|id| id.is_ok_and(|id| id.trust_domain() != own))
    }

    pub(super) fn source(&self) -> IpAddr {
        self.address.unwrap_or(IpAddr::from([127, 0, 0, 1]))
    }
}

/// The request's head, as it reaches the workload's sidecar.
pub(super) struct Head<'a> {
    question: &'a Question,
    host: String,
    path: Vec<u8>,
}

impl<'a> Head<'a> {
    pub(super) fn of(question: &'a Question, port: u16, path: Vec<u8>) -> Self {
        let own = || format!("{}:{port}", question.to.name);
        Self {
            question,
            host: question.host.clone().unwrap_or_else(own),
            path,
        }
    }
}

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = String::from_utf8_lossy(&self.path);
        write!(f, "{} {} {path}", self.question.method, self.host)
    }
}

impl RequestHead for Head<'_> {
    fn method(&self) -> &[u8] {
        self.question.method.as_bytes()
    }

    fn authority(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path_and_query(&self) -> &[u8] {
        &self.path
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let values = self.question.headers.get(name)?;
        values.first().map(|value| value.as_bytes())
    }

    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> Option<bool> {
        match name {
            ":method" => Some(test(self.method())),
            ":path" => Some(test(self.path_and_query())),
            ":authority" | "host" => Some(test(self.authority())),
            name => {
                let values = self.question.headers.get(name)?;
                Some(values.iter().any(|value| test(value.as_bytes())))
            }
        }
    }
}

/// The claims as a token's payload has them: one value is a text, several are a list; `a.b` is `b` within `a`.
pub(super) fn claims(question: &Question) -> Claims {
    let mut payload = Map::new();
    for (name, values) in &question.claims {
        let value = match values.as_slice() {
            [one] => Value::from(one.as_str()),
            several => several.iter().map(String::as_str).collect(),
        };
        let keys: Vec<&str> = name.split('.').collect();
        put(&mut payload, &keys, value);
    }
    let mut claims = Claims::default();
    claims.put(&"payload".into(), &Arc::new(payload.into()));
    claims
}

fn put(place: &mut Map<String, Value>, keys: &[&str], value: Value) {
    match keys {
        [] => {}
        [last] => drop(place.insert((*last).to_owned(), value)),
        [first, rest @ ..] => {
            let inner = place.entry(*first).or_insert_with(|| Map::new().into());
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// A service's name in any of its forms.
mod service_name {
    use serde::{Deserialize, Deserializer, Serializer};
    use weft_config::gateway_api::ServiceName;
    use weft_config::gateway_api::names::DEFAULT_CLUSTER_DOMAIN;

    pub(super) fn serialize<S: Serializer>(
        name: &ServiceName,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}.{}", name.name, name.namespace))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ServiceName, D::Error> {
        let text = String::deserialize(deserializer)?;
        ServiceName::qualify(&text, "default", DEFAULT_CLUSTER_DOMAIN)
            .ok_or_else(|| serde::de::Error::custom("must be a service's name"))
    }
}
