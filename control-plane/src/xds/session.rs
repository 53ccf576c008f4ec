//! The protocol of one stream, without I/O: requests go in, the next response comes out.
//!
//! What the client asked for itself is answered at once. What the control plane has to tell waits until the client has
//! answered the last response of that type, and goes in make-before-break order: clusters, endpoints, listeners, routes;
//! removals only when all of that has been answered.

mod admit;
mod report;
mod speak;
mod typed;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use weft_config::spiffe::SpiffeId;

use self::report::Reply;
pub use self::report::{Answer, Mark, Nack, TypeReport};
pub(crate) use self::report::{EntryReport, EntryState};
use self::typed::TypeState;
use super::node::NodeInfo;
use super::request::{DeltaRequest, Refusal, SotwRequest};
use crate::snapshot::ResourceType;

/// Bounds on what one stream may ask for.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Names per type. Default 10,000.
    pub names_max: usize,
    /// Bytes of a name. Default 512.
    pub name_bytes_max: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            names_max: 10_000,
            name_bytes_max: 512,
        }
    }
}

/// One stream.
#[derive(Debug)]
pub struct Session {
    delta: bool,
    serves: Option<ResourceType>,
    limits: SessionLimits,
    /// Who it is at the other end, where that was proved.
    identity: Option<SpiffeId>,
    node: Option<Arc<NodeInfo>>,
    types: [TypeState; ResourceType::ALL.len()],
    nonces: u64,
    unserved: BTreeMap<String, Vec<Arc<str>>>,
    evaluated: u64,
}

impl Session {
    /// A state-of-the-world stream; of one type only on a separate service.
    pub fn sotw(serves: Option<ResourceType>, limits: SessionLimits) -> Self {
        Self::new(false, serves, limits)
    }

    /// An incremental stream; of one type only on a separate service.
    pub fn delta(serves: Option<ResourceType>, limits: SessionLimits) -> Self {
        Self::new(true, serves, limits)
    }

    fn new(delta: bool, serves: Option<ResourceType>, limits: SessionLimits) -> Self {
        Self {
            delta,
            serves,
            limits,
            identity: None,
            node: None,
            types: Default::default(),
            nonces: 0,
            unserved: BTreeMap::new(),
            evaluated: 0,
        }
    }

    /// The same, of a client that has proved to be `identity`.
    pub fn of(self, identity: Option<SpiffeId>) -> Self {
        Self { identity, ..self }
    }

    /// Who asks; known from the first request on.
    pub fn node(&self) -> Option<&Arc<NodeInfo>> {
        self.node.as_ref()
    }

    /// Takes in a state-of-the-world request.
    ///
    /// # Errors
    /// If the client breaks a rule that ends the stream.
    pub fn on_sotw(
        &mut self,
        request: SotwRequest,
        now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        self.take_node(request.node)?;
        self.check_names(&request.names)?;
        let Some(kind) = self.kind(&request.type_url)? else {
            return Ok(None); // Nothing of a type that is not served exists, and SotW says so by silence.
        };
        let state = self.state(kind);
        let reply = state.take_answer(&request.nonce, request.refusal, now);
        if reply == Reply::Stale {
            return Ok(None);
        }
        let first = !state.report.started;
        state.report.started = true;
        let wildcard = request.names.iter().any(|name| name == "*")
            || (request.names.is_empty() && !state.had_names);
        state.had_names |= !request.names.is_empty();
        let names: Vec<&str> = request.names.iter().map(String::as_str).collect();
        state.subscribe_exactly(&names, wildcard && kind.is_full_state());
        if first {
            state.first_answer_due = state.subscription.wildcard;
            state.resume = Some(request.version).filter(|version| !version.is_empty());
        }
        Ok(reply.answer(kind))
    }

    /// Takes in an incremental request.
    ///
    /// # Errors
    /// If the client breaks a rule that ends the stream.
    pub fn on_delta(
        &mut self,
        request: DeltaRequest,
        now: Timestamp,
    ) -> Result<Option<Answer>, Refusal> {
        self.take_node(request.node)?;
        self.check_names(&request.subscribe)?;
        let Some(kind) = self.kind(&request.type_url)? else {
            self.note_unserved(request.type_url, &request.subscribe)?;
            return Ok(None);
        };
        let names_max = self.limits.names_max;
        let state = self.state(kind);
        // A stale nonce voids the answer, not the subscriptions: those are changes, and come once.
        let reply = state.take_answer(&request.nonce, request.refusal, now);
        let first = !state.report.started;
        state.report.started = true;
        let implied = first && request.subscribe.is_empty() && kind.is_full_state();
        if !request.subscribe.is_empty() || !request.unsubscribe.is_empty() || first {
            state.level_with = None;
        }
        let subscription = &mut state.subscription;
        subscription.wildcard |= implied;
        for name in &request.subscribe {
            match name.as_str() {
                "*" if kind.is_full_state() => subscription.wildcard = true,
                name => subscription.subscribe(name),
            }
        }
        for name in &request.unsubscribe {
            match name.as_str() {
                "*" => subscription.unsubscribe_wildcard(),
                name => subscription.unsubscribe(name),
            }
        }
        if first {
            for (name, version) in request.initial_versions.iter().take(names_max) {
                subscription.remember(name, version);
            }
            state.first_answer_due = state.subscription.wildcard;
        }
        let named = state.subscription.entries.values().filter(|e| e.named);
        if named.count() > names_max {
            return Err(Refusal::TooManyNames { limit: names_max });
        }
        Ok(reply.answer(kind))
    }

    /// Whether everything of the snapshot `serial` was sent where it was due, and answered.
    pub fn is_settled(&self, serial: u64) -> bool {
        self.evaluated >= serial && self.types.iter().all(|state| state.in_flight.is_none())
    }

    /// How far the client is, by type in the order of [`ResourceType::ALL`].
    pub fn reports(&self) -> [TypeReport; ResourceType::ALL.len()] {
        std::array::from_fn(|index| {
            self.types
                .get(index)
                .map_or_else(TypeReport::default, |state| TypeReport {
                    resources: state.subscription.entries.len(),
                    ..state.report.clone()
                })
        })
    }

    /// Every resource that the client knows or waits for.
    pub(crate) fn entries(&self) -> Vec<EntryReport> {
        let kinds = ResourceType::ALL.into_iter().zip(&self.types);
        kinds
            .flat_map(|(kind, state)| {
                state
                    .subscription
                    .entries
                    .iter()
                    .map(move |(name, entry)| EntryReport {
                        kind,
                        name: Arc::clone(name),
                        told: entry.told.clone(),
                        state: state.entry_state(&entry.told, entry.told_by),
                        nack: state.report.nacked.clone(),
                        sent_at: state.report.sent.map(|mark| mark.at),
                    })
            })
            .collect()
    }

    fn state(&mut self, kind: ResourceType) -> &mut TypeState {
        let [secret, cluster, endpoint, listener, route] = &mut self.types;
        match kind {
            ResourceType::Secret => secret,
            ResourceType::Cluster => cluster,
            ResourceType::Endpoint => endpoint,
            ResourceType::Listener => listener,
            ResourceType::Route => route,
        }
    }
}
