//! Both protocols as one: responses become [`Received`], and requests come out in the order of [`Kind`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weft_xds_proto::any;
use weft_xds_proto::pb::envoy::config::core::v3::Node;
use weft_xds_proto::pb::envoy::service::discovery::v3 as pb;
use weft_xds_proto::pb::google::protobuf::Any;

use super::delta::Delta;
use super::kind::{Kind, PerKind};
use super::sotw::Sotw;
use super::subscription::{Reply, Subscription};

/// Which of the two protocols is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Incremental.
    #[default]
    Delta,
    /// State of the world.
    Sotw,
}

/// A response, of either protocol.
#[derive(Clone, Debug)]
pub struct Received {
    /// The type URL as sent; it may be one that we never asked for.
    pub type_url: String,
    /// To be repeated in the acknowledgement.
    pub nonce: String,
    /// The version of the response (state of the world) or of the server's state (delta, for people only).
    pub version: String,
    /// New and changed resources, or all of them.
    pub resources: Vec<Incoming>,
    /// Resources that are gone.
    pub removed: Vec<String>,
    /// Resources of which the server says why it does not have them.
    pub errors: Vec<(String, String)>,
    /// Whether what is not listed is gone.
    pub is_full_state: bool,
}

/// One resource of a response.
#[derive(Clone)]
pub struct Incoming {
    /// Its name; `None` where only the resource itself says it (state of the world).
    pub name: Option<String>,
    /// Its version.
    pub version: String,
    /// The resource; `None`: a heartbeat, which only renews the time to live.
    pub packed: Option<Any>,
    /// How long it may be used without being sent again.
    pub ttl: Option<Duration>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key may stand in it.
        let bytes = self.packed.as_ref().map(|it| it.value.len());
        write!(f, "{:?} ({bytes:?} bytes of {})", self.name, self.version)
    }
}

/// A request, of either protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Incremental.
    Delta(Box<pb::DeltaDiscoveryRequest>),
    /// State of the world.
    Sotw(Box<pb::DiscoveryRequest>),
}

/// The subscriptions of all kinds, on one stream.
#[derive(Debug)]
pub enum Wire {
    /// Incremental.
    Delta(PerKind<Delta>),
    /// State of the world.
    Sotw(PerKind<Sotw>),
}

impl Wire {
    /// Asks for nothing yet.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Delta => Self::Delta(PerKind::new(|kind| {
                Delta::new(kind, Subscription::default())
            })),
            Protocol::Sotw => Self::Sotw(PerKind::new(|kind| {
                Sotw::new(kind, Subscription::default())
            })),
        }
    }

    /// The protocol spoken.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Delta(_) => Protocol::Delta,
            Self::Sotw(_) => Protocol::Sotw,
        }
    }

    /// What is asked for.
    pub fn wanted(&self, kind: Kind) -> &Subscription {
        match self {
            Self::Delta(kinds) => kinds.of(kind).wanted(),
            Self::Sotw(kinds) => kinds.of(kind).wanted(),
        }
    }

    /// What is asked for, to be changed.
    pub fn wanted_mut(&mut self, kind: Kind) -> &mut Subscription {
        match self {
            Self::Delta(kinds) => kinds.of_mut(kind).wanted_mut(),
            Self::Sotw(kinds) => kinds.of_mut(kind).wanted_mut(),
        }
    }

    /// A new stream begins.
    pub fn stream_began(&mut self) {
        for kind in Kind::ALL {
            match self {
                Self::Delta(kinds) => kinds.of_mut(kind).stream_began(),
                Self::Sotw(kinds) => kinds.of_mut(kind).stream_began(),
            }
        }
    }

    /// A resource is held from now on.
    pub fn holds(&mut self, kind: Kind, name: Arc<str>, version: String) {
        if let Self::Delta(kinds) = self {
            kinds.of_mut(kind).holds(name, version);
        }
    }

    /// A resource is not held any more.
    pub fn lost(&mut self, kind: Kind, name: &str) {
        if let Self::Delta(kinds) = self {
            kinds.of_mut(kind).lost(name);
        }
    }

    /// A response came; [`Self::reply`] follows.
    pub fn received(&mut self, kind: Kind) {
        if let Self::Sotw(kinds) = self {
            kinds.of_mut(kind).received();
        }
    }

    /// A response of `version` is to be acknowledged, or refused.
    pub fn reply(&mut self, kind: Kind, reply: Reply, version: String) {
        match self {
            Self::Delta(kinds) => kinds.of_mut(kind).reply(reply),
            Self::Sotw(kinds) => kinds.of_mut(kind).reply(reply, version),
        }
    }

    /// Refuses a response of a type that was never asked for.
    pub fn refuse_unknown(&self, received: &Received) -> Request {
        let error = super::delta::status(format!(
            "resources of type {:?} are not known",
            received.type_url
        ));
        let type_url = received.type_url.clone();
        let response_nonce = received.nonce.clone();
        match self {
            Self::Delta(_) => Request::Delta(Box::new(pb::DeltaDiscoveryRequest {
                type_url,
                response_nonce,
                error_detail: Some(error),
                ..Default::default()
            })),
            Self::Sotw(_) => Request::Sotw(Box::new(pb::DiscoveryRequest {
                type_url,
                response_nonce,
                error_detail: Some(error),
                ..Default::default()
            })),
        }
    }

    /// All requests that are due, in the order in which they are to be sent.
    pub fn take_requests(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        for kind in Kind::ALL {
            match self {
                Self::Delta(kinds) => {
                    let delta = kinds.of_mut(kind);
                    let due = std::iter::from_fn(|| delta.next_request());
                    requests.extend(due.map(|it| Request::Delta(Box::new(it))));
                }
                Self::Sotw(kinds) => {
                    let sotw = kinds.of_mut(kind);
                    let due = std::iter::from_fn(|| sotw.next_request());
                    requests.extend(due.map(|it| Request::Sotw(Box::new(it))));
                }
            }
        }
        requests
    }
}

impl Request {
    /// Says who we are; the first request of a stream does.
    pub fn introduce(&mut self, node: &Node) {
        match self {
            Self::Delta(request) => request.node = Some(node.clone()),
            Self::Sotw(request) => request.node = Some(node.clone()),
        }
    }
}

impl Received {
    /// From the incremental protocol.
    pub fn from_delta(response: pb::DeltaDiscoveryResponse) -> Self {
        let by_name = response
            .removed_resource_names
            .into_iter()
            .map(|it| it.name);
        Self {
            type_url: response.type_url,
            nonce: response.nonce,
            version: response.system_version_info,
            resources: response.resources.into_iter().map(incoming).collect(),
            removed: response
                .removed_resources
                .into_iter()
                .chain(by_name)
                .collect(),
            errors: errors(response.resource_errors),
            is_full_state: false,
        }
    }

    /// From the state-of-the-world protocol, or from a file.
    pub fn from_sotw(response: pb::DiscoveryResponse) -> Self {
        let version = response.version_info;
        let unwrap = |packed: Any| match any::unpack::<pb::Resource>(&packed) {
            // A resource may come wrapped, to carry a name and a time to live.
            Ok(wrapped) => Incoming {
                version: version.clone(),
                ..incoming(wrapped)
            },
            Err(_) => Incoming {
                name: None,
                version: version.clone(),
                packed: Some(packed),
                ttl: None,
            },
        };
        Self {
            resources: response.resources.into_iter().map(unwrap).collect(),
            is_full_state: Kind::of(&response.type_url).is_some_and(Kind::is_full_state),
            type_url: response.type_url,
            nonce: response.nonce,
            removed: Vec::new(),
            errors: errors(response.resource_errors),
            version,
        }
    }
}

fn incoming(resource: pb::Resource) -> Incoming {
    let ttl = resource.ttl.and_then(|ttl| {
        let seconds = u64::try_from(ttl.seconds).ok()?;
        Some(Duration::new(seconds, u32::try_from(ttl.nanos).ok()?))
    });
    Incoming {
        name: Some(resource.name),
        version: resource.version,
        packed: resource.resource,
        ttl,
    }
}

fn errors(errors: Vec<pb::ResourceError>) -> Vec<(String, String)> {
    errors
        .into_iter()
        .filter_map(|error| {
            let detail = error.error_detail.map(|it| it.message).unwrap_or_default();
            Some((error.resource_name?.name, detail))
        })
        .collect()
}
