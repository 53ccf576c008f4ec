//! The protocol of one stream, without I/O: requests go in, the next response comes out.
//!
//! What the client asked for itself is answered at once. What the control plane has to tell waits until the client has
//! answered the last response of that type, and goes in make-before-break order: clusters, endpoints, listeners, routes;
//! removals only when all of that has been answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use weft_xds_proto::pb::envoy::config::core::v3::Node;

use super::node::NodeInfo;
use super::push::{DeltaPush, Push, SotwPush};
use super::request::{DeltaRequest, Refusal, SotwRequest};
use super::subscription::{Lack, Subscription, Told};
use crate::snapshot::{Resource, ResourceType, Snapshot, content_hash};

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
    node: Option<Arc<NodeInfo>>,
    types: [TypeState; 4],
    nonces: u64,
    unserved: BTreeMap<String, Vec<Arc<str>>>,
    evaluated: u64,
}

/// When a response of a type was sent or answered, and what it brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The store's revision.
    pub revision: u64,
    /// The snapshot.
    pub serial: u64,
    /// When.
    pub at: Timestamp,
}

/// A refused response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// What was refused, and when.
    pub mark: Mark,
    /// Why, in the client's words.
    pub reason: Arc<str>,
}

/// How far a client is with one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeReport {
    /// Whether it asked for the type at all.
    pub started: bool,
    /// Whether it asked for all of it.
    pub wildcard: bool,
    /// Names that it asked for or was told of.
    pub resources: usize,
    /// The last response.
    pub sent: Option<Mark>,
    /// The last response that was accepted.
    pub acked: Option<Mark>,
    /// The last response that was refused; `None` again once a later one was accepted.
    pub nacked: Option<Nack>,
    /// Whether the last response is unanswered.
    pub in_flight: bool,
}

/// What a request said of the response before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of which type.
    pub kind: ResourceType,
    /// Acknowledged rather than refused.
    pub accepted: bool,
}

/// What a request is to the response before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// There is none that it could answer, or it was answered before.
    None,
    /// It answers an older one, so it is out of date.
    Stale,
    Accepted,
    Refused,
}

impl Reply {
    fn answer(self, kind: ResourceType) -> Option<Answer> {
        let accepted = match self {
            Self::None | Self::Stale => return None,
            Self::Accepted => true,
            Self::Refused => false,
        };
        Some(Answer { kind, accepted })
    }
}

/// One resource of one stream, for CSDS.
#[derive(Clone, Debug)]
pub(crate) struct EntryReport {
    pub(crate) kind: ResourceType,
    pub(crate) name: Arc<str>,
    pub(crate) told: Told,
    pub(crate) state: EntryState,
    pub(crate) nack: Option<Nack>,
    pub(crate) sent_at: Option<Timestamp>,
}

/// Where a resource stands with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryState {
    NotSent,
    Unanswered,
    Accepted,
    Refused,
    Absent,
}

#[derive(Debug, Default)]
struct TypeState {
    subscription: Subscription,
    had_names: bool,
    /// SotW: the version that the first request named.
    resume: Option<String>,
    /// SotW: the first wildcard request is answered even if there is nothing.
    first_answer_due: bool,
    nonce: u64,
    in_flight: Option<Mark>,
    nacked_nonce: u64,
    /// The snapshot of which nothing is lacking; `None`: not known.
    level_with: Option<u64>,
    report: TypeReport,
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
            node: None,
            types: Default::default(),
            nonces: 0,
            unserved: BTreeMap::new(),
            evaluated: 0,
        }
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

    /// The next response that this client is to have of `snapshot`; `None`: nothing now.
    pub fn next_push(&mut self, snapshot: &Snapshot, now: Timestamp) -> Option<Push> {
        let node = Arc::clone(self.node.as_ref()?);
        if let Some((type_url, removed)) = self.unserved.pop_first() {
            return Some(self.absent(type_url, removed, snapshot));
        }
        let mut held = false;
        for kind in ResourceType::ALL {
            let state = self.state(kind);
            if state.is_level(snapshot) {
                continue;
            }
            let mut lacks = state.subscription.lacks(kind, snapshot, &node.view);
            if state.resumes(kind, &lacks, snapshot, now) {
                continue;
            }
            let due = std::mem::take(&mut state.first_answer_due);
            let all = lacks.len();
            let blocked = held || state.in_flight.is_some();
            let owed = |name: &Arc<str>| {
                let entry = state.subscription.entries.get(name);
                entry.is_some_and(|entry| entry.owed)
            };
            let waiting: Vec<_> = lacks
                .iter()
                .filter(|(name, lack)| matches!(lack, Lack::Removal) || (blocked && !owed(name)))
                .map(|(name, lack)| (Arc::clone(name), matches!(lack, Lack::Removal)))
                .collect();
            for (name, _) in &waiting {
                lacks.remove(name);
            }
            held |= waiting.iter().any(|(_, removal)| !removal);
            if (all > waiting.len() || due)
                && let Some(push) = self.build(kind, lacks, due, snapshot, now)
            {
                return Some(push);
            }
            if waiting.is_empty() {
                self.state(kind).level_with = Some(snapshot.serial);
            }
        }
        if held || self.types.iter().any(|state| state.in_flight.is_some()) {
            return None;
        }
        self.next_removal(snapshot, &node, now)
    }

    /// What is gone, told last and from what refers to what is referred to.
    fn next_removal(
        &mut self,
        snapshot: &Snapshot,
        node: &NodeInfo,
        now: Timestamp,
    ) -> Option<Push> {
        for kind in ResourceType::ALL.into_iter().rev() {
            let state = self.state(kind);
            if state.is_level(snapshot) {
                continue;
            }
            let lacks = state.subscription.lacks(kind, snapshot, &node.view);
            if !lacks.is_empty()
                && let Some(push) = self.build(kind, lacks, false, snapshot, now)
            {
                return Some(push);
            }
            self.state(kind).level_with = Some(snapshot.serial);
        }
        self.evaluated = snapshot.serial;
        None
    }

    /// Whether everything of the snapshot `serial` was sent where it was due, and answered.
    pub fn is_settled(&self, serial: u64) -> bool {
        self.evaluated >= serial && self.types.iter().all(|state| state.in_flight.is_none())
    }

    /// How far the client is, by type in the order of [`ResourceType::ALL`].
    pub fn reports(&self) -> [TypeReport; 4] {
        std::array::from_fn(|index| {
            self.types
                .get(index)
                .map_or_else(TypeReport::default, |state| TypeReport {
                    wildcard: state.subscription.wildcard,
                    resources: state.subscription.entries.len(),
                    in_flight: state.in_flight.is_some(),
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

    fn build(
        &mut self,
        kind: ResourceType,
        lacks: BTreeMap<Arc<str>, Lack>,
        due: bool,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Option<Push> {
        let nonce = self.nonces + 1;
        let delta = self.delta;
        let state = self.state(kind);
        let mut resources = Vec::new();
        let mut removed = Vec::new();
        let mut replaced = Vec::new();
        for (name, lack) in lacks {
            match lack {
                Lack::Resource(resource) => {
                    if state.subscription.told_resource(&resource, nonce) {
                        replaced.push(name);
                    }
                    resources.push(resource);
                }
                Lack::Absence | Lack::Removal => {
                    state.subscription.told_absent(&name, nonce);
                    removed.push(name);
                }
            }
        }
        let push = if delta {
            let something = due || !resources.is_empty() || !removed.is_empty();
            something.then(|| {
                Push::Delta(DeltaPush {
                    type_url: kind.type_url().into(),
                    system_version: snapshot.revision.to_string(),
                    nonce: nonce.to_string(),
                    resources,
                    removed,
                })
            })
        } else {
            state
                .sotw(kind, resources, due || !removed.is_empty())
                .map(|(resources, version)| {
                    Push::Sotw(SotwPush {
                        type_url: kind.type_url().into(),
                        version,
                        nonce: nonce.to_string(),
                        resources,
                    })
                })
        }?;
        let mark = Mark {
            revision: snapshot.revision,
            serial: snapshot.serial,
            at: now,
        };
        state.nonce = nonce;
        state.in_flight = Some(mark);
        state.report.sent = Some(mark);
        self.nonces = nonce;
        if kind == ResourceType::Cluster {
            self.owe_endpoints(&replaced);
        }
        Some(push)
    }

    /// Envoy warms a changed cluster until it is told its endpoints again, though they are the same
    /// (xDS transport protocol, "Resource warming").
    fn owe_endpoints(&mut self, clusters: &[Arc<str>]) {
        let state = self.state(ResourceType::Endpoint);
        for name in clusters {
            if let Some(entry) = state.subscription.entries.get_mut(name) {
                entry.owed = true;
                state.level_with = None;
            }
        }
    }

    fn absent(&mut self, type_url: String, removed: Vec<Arc<str>>, snapshot: &Snapshot) -> Push {
        self.nonces += 1;
        Push::Delta(DeltaPush {
            type_url: type_url.into(),
            system_version: snapshot.revision.to_string(),
            nonce: self.nonces.to_string(),
            resources: Vec::new(),
            removed,
        })
    }

    fn take_node(&mut self, node: Option<Node>) -> Result<(), Refusal> {
        match (&self.node, node) {
            (None, Some(node)) if !node.id.is_empty() => {
                self.node = Some(Arc::new(NodeInfo::parse(node)?));
                Ok(())
            }
            (None, _) => Err(Refusal::NoNode),
            (Some(was), Some(now)) if !now.id.is_empty() && now.id != *was.id => {
                Err(Refusal::NodeChanged {
                    was: was.id.to_string(),
                    now: now.id,
                })
            }
            (Some(_), _) => Ok(()),
        }
    }

    fn kind(&self, type_url: &str) -> Result<Option<ResourceType>, Refusal> {
        match self.serves {
            Some(serves) if type_url.is_empty() || type_url == serves.type_url() => {
                Ok(Some(serves))
            }
            Some(serves) => Err(Refusal::WrongService {
                serves: serves.type_url(),
                asked: type_url.to_owned(),
            }),
            None if type_url.is_empty() => Err(Refusal::NoType),
            None => Ok(ResourceType::from_type_url(type_url)),
        }
    }

    fn check_names(&self, names: &[String]) -> Result<(), Refusal> {
        let limit = self.limits.name_bytes_max;
        match names.iter().find(|name| name.len() > limit) {
            Some(name) => Err(Refusal::LongName {
                limit,
                got: name.len(),
            }),
            None if names.len() > self.limits.names_max => Err(Refusal::TooManyNames {
                limit: self.limits.names_max,
            }),
            None => Ok(()),
        }
    }

    /// Names of a type that is not served do not exist; they are answered once and not remembered.
    fn note_unserved(&mut self, type_url: String, names: &[String]) -> Result<(), Refusal> {
        if names.is_empty() {
            return Ok(());
        }
        self.check_names(std::slice::from_ref(&type_url))?;
        let limit = self.limits.names_max;
        if self.unserved.len() >= UNSERVED_TYPES_MAX {
            return Err(Refusal::TooManyNames { limit });
        }
        let noted = self.unserved.entry(type_url).or_default();
        noted.extend(names.iter().map(|name| Arc::from(name.as_str())));
        match noted.len() > limit {
            true => Err(Refusal::TooManyNames { limit }),
            false => Ok(()),
        }
    }

    fn state(&mut self, kind: ResourceType) -> &mut TypeState {
        let [cluster, endpoint, listener, route] = &mut self.types;
        match kind {
            ResourceType::Cluster => cluster,
            ResourceType::Endpoint => endpoint,
            ResourceType::Listener => listener,
            ResourceType::Route => route,
        }
    }
}

impl TypeState {
    /// Whether nothing of `snapshot` can be lacking.
    fn is_level(&self, snapshot: &Snapshot) -> bool {
        !self.report.started || self.level_with == Some(snapshot.serial)
    }

    /// Notes what a request says of the last response.
    fn take_answer(&mut self, nonce: &str, refusal: Option<String>, now: Timestamp) -> Reply {
        if nonce.is_empty() || self.nonce == 0 {
            return Reply::None;
        }
        if nonce.parse() != Ok(self.nonce) {
            return Reply::Stale;
        }
        let Some(sent) = self.in_flight.take() else {
            return Reply::None;
        };
        let mark = Mark { at: now, ..sent };
        let Some(reason) = refusal else {
            self.report.acked = Some(mark);
            self.report.nacked = None;
            return Reply::Accepted;
        };
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        self.nacked_nonce = self.nonce;
        self.report.nacked = Some(Nack {
            mark,
            reason: reason.into(),
        });
        Reply::Refused
    }

    /// SotW: makes the subscription exactly these names.
    fn subscribe_exactly(&mut self, names: &[&str], wildcard: bool) {
        let wanted: std::collections::HashSet<&str> =
            names.iter().copied().filter(|name| *name != "*").collect();
        let subscription = &mut self.subscription;
        let gone: Vec<_> = subscription
            .entries
            .iter()
            .filter(|(name, entry)| entry.named && !wanted.contains(&***name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        let changed = wildcard != subscription.wildcard || !gone.is_empty();
        if !wildcard && subscription.wildcard {
            subscription.unsubscribe_wildcard();
        }
        subscription.wildcard = wildcard;
        for name in gone {
            subscription.unsubscribe(&name);
        }
        let mut added = false;
        for name in wanted {
            if !subscription
                .entries
                .get(name)
                .is_some_and(|entry| entry.named)
            {
                subscription.subscribe(name);
                added = true;
            }
        }
        if changed || added || !self.report.started {
            self.level_with = None;
        }
    }

    /// SotW: whether the client has already, from an earlier stream, exactly what it would now be sent.
    fn resumes(
        &mut self,
        kind: ResourceType,
        lacks: &BTreeMap<Arc<str>, Lack>,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> bool {
        let Some(version) = self.resume.take() else {
            return false;
        };
        let resources = lacks.values().filter_map(|lack| match lack {
            Lack::Resource(resource) => Some(resource),
            Lack::Absence | Lack::Removal => None,
        });
        // What does not exist is said by what is missing from a full-state response: such a one must be sent.
        let absence = lacks
            .values()
            .any(|lack| !matches!(lack, Lack::Resource(_)));
        if state_version(resources) != version || (absence && kind.is_full_state()) {
            return false;
        }
        for (name, lack) in lacks {
            match lack {
                Lack::Resource(resource) => {
                    self.subscription.told_resource(resource, 0);
                }
                Lack::Absence | Lack::Removal => self.subscription.told_absent(name, 0),
            }
        }
        self.first_answer_due = false;
        self.level_with = Some(snapshot.serial);
        self.report.acked = Some(Mark {
            revision: snapshot.revision,
            serial: snapshot.serial,
            at: now,
        });
        true
    }

    /// What a SotW response holds: everything for LDS and CDS, else what is new. `None`: there is nothing to say.
    fn sotw(
        &self,
        kind: ResourceType,
        new: Vec<Arc<Resource>>,
        say_absence: bool,
    ) -> Option<(Vec<Arc<Resource>>, String)> {
        let known: Vec<Arc<Resource>> = self
            .subscription
            .entries
            .values()
            .filter_map(|entry| match &entry.told {
                Told::Resource(resource) => Some(Arc::clone(resource)),
                Told::Nothing | Told::Absent | Told::Earlier(_) => None,
            })
            .collect();
        let version = state_version(&known);
        match kind.is_full_state() {
            true if !new.is_empty() || say_absence => Some((known, version)),
            false if !new.is_empty() => Some((new, version)),
            _ => None,
        }
    }

    fn entry_state(&self, told: &Told, told_by: u64) -> EntryState {
        match told {
            Told::Nothing => EntryState::NotSent,
            Told::Absent => EntryState::Absent,
            Told::Earlier(_) => EntryState::Accepted,
            Told::Resource(_) if told_by != 0 && told_by == self.nacked_nonce => {
                EntryState::Refused
            }
            Told::Resource(_) if self.in_flight.is_some() && told_by == self.nonce => {
                EntryState::Unanswered
            }
            Told::Resource(_) => EntryState::Accepted,
        }
    }
}

/// The version of a state: a hash over names and versions, the same in every process that serves the same.
fn state_version<'a>(resources: impl IntoIterator<Item = &'a Arc<Resource>>) -> String {
    let hash = content_hash(
        resources
            .into_iter()
            .flat_map(|resource| [resource.name.as_bytes(), resource.version.as_bytes()]),
    );
    format!("{hash:016x}")
}

/// Words of a client that are kept.
const REASON_CHARS_MAX: usize = 4096;

/// Types that are not served and whose names wait to be answered.
const UNSERVED_TYPES_MAX: usize = 16;
