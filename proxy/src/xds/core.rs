//! The decisions of the xDS client: what is asked for, what is accepted, when it is acknowledged. No I/O, no clock.
//!
//! ```text
//! received ─► decode ─► accepted, builder ─► commit ─► names that came into use ─► subscriptions ─► requests
//!                                               └────► acknowledgements, answers to workers
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use tracing::{info, warn};
use weft_config::cluster::Cluster;
use weft_config::listener::{AccessLog, Listener};
use weft_config::secret::ROOT_CA;
use weft_config::spiffe::TrustDomain;
use weft_config::tls::SecretName;
use weft_xds_proto::pb::envoy::config::core::v3::Node;

use super::accepted::SharedAccepted;
use super::kind::Kind;
use super::status::Status;
use super::subscription::Subscription;
use super::wire::{Protocol, Received, Request};
use crate::snapshot::{Builder, Demand, SnapshotStore, UnknownClusters};

mod apply;
mod conversation;
mod derive;
mod placed;
mod restore;
mod secrets;

use conversation::{Conversation, Unanswered};
use secrets::Teller;
pub use secrets::TellerChange;

/// Where listeners or clusters come from, beside the static ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// There are only static ones.
    Nowhere,
    /// The ADS stream, all that the server has for us.
    Ads,
    /// The ADS stream, by name, as they come into use.
    AdsByName,
    /// A watched file.
    File,
}

/// What the client asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which protocol is spoken.
    pub protocol: Protocol,
    /// Where listeners come from.
    pub listeners: Source,
    /// Where clusters come from.
    pub clusters: Source,
    /// Whether there is an ADS server.
    pub has_ads: bool,
    /// Names on demand, in mesh mode.
    pub demand: Option<Arc<Demand>>,
    /// The inbound side of mesh mode.
    pub inbound: Option<Place>,
    /// A listener that is asked for only to tell the server who we are: who is not called, and has called nobody yet, has
    /// nothing else to ask for.
    pub introduction: Option<Arc<str>>,
    /// Where mesh mode logs requests and connections of both directions; `None`: where the control plane says.
    pub access_log: Option<AccessLog>,
    /// The workload's trust domain, whose roots the control plane tells; `None`: the workload is nobody.
    pub trust_domain: Option<TrustDomain>,
    /// Who we are.
    pub node: Node,
}

/// What mesh mode decides of its inbound listener, whatever the control plane says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The listener's resource name.
    pub name: Arc<str>,
    /// The address that is bound.
    pub address: SocketAddr,
    /// The ports of the application.
    pub ports: Arc<[u16]>,
    /// Whether it takes what TPROXY brings, and keeps its clients' addresses.
    pub transparent: bool,
}

/// Binds the address of a listener before it is accepted, or says why it cannot be listened on.
pub struct Reserve(Box<dyn FnMut(&Listener) -> Result<(), String>>);

impl Reserve {
    /// With `bind` for those listeners that have an address.
    pub fn new(bind: impl FnMut(&Listener) -> Result<(), String> + 'static) -> Self {
        Self(Box::new(bind))
    }
}

impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reserve")
    }
}

/// The client's state.
#[derive(Debug)]
pub struct Core {
    options: Options,
    reserve: Reserve,
    store: Arc<SnapshotStore>,
    builder: Builder,
    accepted: SharedAccepted,
    ads: Conversation,
    tellers: secrets::Tellers,
    /// Whether we left the last stream, to open another at once.
    returning: bool,
    /// When resources that came with a time to live are given up.
    expiries: BTreeMap<(Kind, Arc<str>), Instant>,
    /// Names asked for on demand that are not in force yet.
    asked: BTreeSet<Arc<str>>,
    static_listeners: BTreeSet<Arc<str>>,
    static_clusters: BTreeSet<Arc<str>>,
    /// Kinds of which a first response came, or that the disk told.
    told: BTreeSet<Kind>,
    ready: bool,
    status: Arc<Status>,
    changes: Changes,
}

/// What changed since the tables were last written to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Listeners, routes, clusters or names.
    pub tables: bool,
    /// Endpoints, which change often.
    pub endpoints: bool,
}

/// What is to be done after a step.
#[derive(Debug, Default)]
pub struct Step {
    /// To be sent over ADS, in this order.
    pub requests: Vec<Request>,
    /// To be sent to servers of secrets, each on the stream for this secret.
    pub to_servers: Vec<(Arc<SecretName>, Request)>,
    /// When the next step is due although nothing happens.
    pub next: Option<Instant>,
}

impl Core {
    /// Nothing told yet.
    pub fn new(
        options: Options,
        reserve: Reserve,
        store: Arc<SnapshotStore>,
        mut builder: Builder,
        status: Arc<Status>,
    ) -> Self {
        let mut ads = Conversation::new(options.protocol);
        let wire = &mut ads.wire;
        if options.listeners == Source::Ads {
            *wire.wanted_mut(Kind::Listener) = Subscription::wildcard();
        }
        if options.clusters == Source::Ads {
            *wire.wanted_mut(Kind::Cluster) = Subscription::wildcard();
        }
        let inbound = options.inbound.iter().map(|place| &place.name);
        if options.trust_domain.is_some() {
            let names = &mut wire.wanted_mut(Kind::Secret).names;
            names.insert(ROOT_CA.into());
        }
        for name in inbound.chain(&options.introduction) {
            wire.wanted_mut(Kind::Listener).names.insert(name.clone());
        }
        builder.unknown_clusters(match options.clusters {
            Source::Nowhere => UnknownClusters::DoNotExist,
            _ => UnknownClusters::MayCome,
        });
        Self {
            options,
            reserve,
            store,
            builder,
            accepted: SharedAccepted::default(),
            ads,
            tellers: secrets::Tellers::default(),
            returning: false,
            expiries: BTreeMap::new(),
            asked: BTreeSet::new(),
            static_listeners: BTreeSet::new(),
            static_clusters: BTreeSet::new(),
            told: BTreeSet::new(),
            ready: false,
            status,
            changes: Changes::default(),
        }
    }

    /// A cluster of the bootstrap; no source can replace it.
    pub fn put_static_cluster(&mut self, cluster: Arc<Cluster>, now: Instant) {
        self.static_clusters.insert(cluster.name.clone());
        self.builder.put_cluster(cluster, now);
    }

    /// A listener of the bootstrap; no source can replace it.
    pub fn put_static_listener(&mut self, listener: Arc<Listener>, now: Instant) {
        self.static_listeners.insert(listener.name.clone());
        match &self.options.demand {
            Some(demand) => self.builder.put_on_demand(listener, demand.clone(), now),
            None => self.builder.put_listener(listener, now),
        }
    }

    /// The builder, for what is beside xDS: clusters whose names are to be resolved.
    pub fn builder(&mut self) -> &mut Builder {
        &mut self.builder
    }

    /// What was accepted.
    pub fn accepted(&self) -> &SharedAccepted {
        &self.accepted
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// The protocol spoken.
    pub fn protocol(&self) -> Protocol {
        self.ads.wire.protocol()
    }

    /// The server is being tried at this address.
    pub fn stream_tried(&self, address: &str) {
        self.status.trying(address);
    }

    /// A stream is up. What is held stays in force and is told to the server.
    pub fn stream_began(&mut self) {
        self.ads.began();
        self.returning = false;
        self.status.stream_began();
    }

    /// The stream broke. What is in force stays so.
    pub fn stream_ended(&mut self, why: &str) {
        let connected = self.ads.ended();
        if std::mem::take(&mut self.returning) || connected {
            self.status.stream_ended(why);
        }
    }

    /// We left the stream and are about to come back: nobody is told, unless we cannot.
    pub fn stream_left(&mut self) {
        self.returning |= self.ads.ended();
    }

    /// A response came over the stream.
    pub fn receive(&mut self, received: Received, now: Instant) {
        let Some(kind) = Kind::of(&received.type_url) else {
            warn!(
                type_url = received.type_url,
                "response of a type that was not asked for refused"
            );
            self.ads.refuse(&received);
            return;
        };
        self.ads.wire.received(kind);
        self.status.answered();
        self.status.metrics().of(kind.metric()).updated();
        let nonce = received.nonce.clone();
        let version = received.version.clone();
        let applied = match kind {
            Kind::Secret => self.apply_secrets(Teller::Ads, received),
            _ => self.apply(kind, received, now),
        };
        self.ads.owes(
            kind,
            Unanswered {
                nonce,
                version,
                error: applied.error(),
                names: applied.names,
            },
        );
    }

    /// A watched file was read: what it holds is all there is of its kind.
    ///
    /// # Errors
    /// The faults of those of its resources that are refused; the others are applied.
    pub fn receive_file(&mut self, received: Received, now: Instant) -> Result<(), String> {
        let Some(kind) = Kind::of(&received.type_url) else {
            return Err(format!(
                "resources of type {:?} are not known",
                received.type_url
            ));
        };
        self.status.metrics().of(kind.metric()).updated();
        let error = self.apply(kind, received, now).error();
        let metrics = self.status.metrics().of(kind.metric());
        match error {
            None => {
                metrics.acked();
                Ok(())
            }
            Some(error) => {
                metrics.nacked();
                Err(error)
            }
        }
    }

    /// Goes as far as possible: names in use, snapshot, answers. To be called after each of the others, and when the time that
    /// it says has come.
    pub fn step(&mut self, now: Instant) -> Step {
        // A resource whose time to live is over may be a name in demand, which is absent from now on.
        self.expire(now);
        let demand = self.take_demand(now);
        let commit = self.settle(now);
        self.answer_workers(now);
        self.answer_server();
        self.note_ready();
        Step {
            requests: self.ads.take_requests(&self.options.node),
            to_servers: self.take_server_requests(),
            next: commit
                .into_iter()
                .chain(demand)
                .chain(self.expiries.values().copied())
                .min(),
        }
    }

    /// Acknowledges what is in force by now, in the order in which it came.
    fn answer_server(&mut self) {
        let builder = &self.builder;
        for kind in Kind::ALL {
            let waits = |name: &str| match kind {
                Kind::Listener => builder.listener_waits(name),
                Kind::Route => builder.table_waits(name),
                Kind::Cluster => builder.cluster_waits(name),
                Kind::Secret | Kind::Endpoints => false,
            };
            let stats = self.status.metrics().of(kind.metric());
            self.ads
                .answer(kind, waits, |answered| answered.count(stats));
        }
    }

    /// Ready once, ready for ever: later changes replace what works.
    fn note_ready(&mut self) {
        if self.ready {
            return;
        }
        let told = match self.options.listeners {
            Source::Nowhere => true,
            // Who only calls others is ready when it can ask for them.
            Source::AdsByName if self.options.inbound.is_none() && self.ads.is_connected() => true,
            _ => self.told.contains(&Kind::Listener),
        };
        if told && !self.builder.any_waits() {
            self.ready = true;
            info!(revision = self.store.current().revision, "tables in force");
            self.status.tables_in_force();
        }
    }
}

/// Now, for people: as seconds since the epoch in files and on pages.
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests;
