//! Who may: gates judge each request before it goes anywhere, and again those under way when the rules change.

use weft_config::flag::ResponseFlag;
use weft_config::route::RequestHead;

use super::Engine;
use super::exchange::{Exchange, Phase};
use super::local_reply::{Body, LocalReply};
use super::request::Refusal;
use crate::http::head::{Head, Start};
use crate::policy::access::{AccessGate, Denied, request};
use crate::policy::jwt::TokenCache;
use crate::policy::revoked::first_denial;
use crate::snapshot::{ChainView, FilterView, HttpView, Snapshot};

impl Engine {
    /// Cuts what is under way and no longer allowed, where the rules say so.
    pub(super) fn revoke(&mut self) {
        let snapshot = self.snapshots.current();
        let mut revoked = Vec::new();
        for id in self.exchanges.keys() {
            let exchange = self.exchanges.get(id);
            let denied = exchange.and_then(|it| it.revoked(&snapshot));
            revoked.extend(denied.map(|denied| (id, denied)));
        }
        for (id, denied) in revoked {
            self.reply(id, &denial(&denied));
        }
    }
}

impl Exchange {
    /// Has a gate judge the request.
    pub(super) fn admit(&mut self, gate: &AccessGate) -> Result<(), Refusal> {
        let asked = request(&self.facts, self.client, &self.head, Some(&self.claims));
        let admission = gate.admit(&asked);
        if let (Some(log), Some(shadow)) = (&mut self.log, &admission.shadow) {
            log.note(|| shadow.shadow_details());
        }
        admission.result.map_err(|denied| denial(&denied))
    }

    /// Whether the connection is still let in by what judges connections.
    pub(super) fn admit_connection(&self, chain: &ChainView) -> Result<(), Refusal> {
        let asked = crate::policy::access::connection(&self.facts);
        let mut gates = chain.access.iter();
        gates
            .try_for_each(|gate| gate.admit_again(&asked))
            .map_err(|denied| Box::new(denial(&denied).closing()))
    }

    /// What a request without a route hears: who may not know is not told that there is none.
    pub(super) fn admit_astray(
        &mut self,
        view: &HttpView,
        tokens: &mut TokenCache,
        otherwise: Refusal,
    ) -> Refusal {
        let denied = view.filters.iter().find_map(|filter| match filter {
            FilterView::Jwt(gate) => self.authenticate_astray(gate, tokens).err(),
            FilterView::Access(gate) => self.admit(gate).err(),
            FilterView::LocalRateLimit(_)
            | FilterView::Fault(_)
            | FilterView::Unsupported { .. } => None,
        });
        denied.unwrap_or(otherwise)
    }

    /// Whether `snapshot` has this request cut.
    pub(super) fn revoked(&self, snapshot: &Snapshot) -> Option<Denied> {
        // Those that have not passed all filters yet will be judged, or were just now.
        if matches!(self.phase, Phase::Naming | Phase::Filtering(_)) {
            return None;
        }
        let listener = snapshot.listener(&self.facts.listener)?;
        if listener.on_demand.is_some() || !listener.cuts() {
            return None;
        }
        let chain = listener.find_chain(&self.facts)?;
        if let Some(denied) = first_denial(&chain.access, &self.facts) {
            return Some(denied);
        }
        let head = AsJudged {
            head: &self.head,
            start: self.judged.unwrap_or(self.head.start()),
        };
        let asked = request(&self.facts, self.client, &head, Some(&self.claims));
        let mut gates = chain.http()?.gates().filter(|gate| gate.cuts());
        gates.find_map(|gate| gate.admit_again(&asked).err())
    }
}

/// Callers hear that they may not, and not by which policy.
fn denial(denied: &Denied) -> Refusal {
    let mut reply = LocalReply::new(403, ResponseFlag::UAEX, denied.details());
    reply.body = Body::Text("RBAC: access denied".into());
    Box::new(reply)
}

/// A head with the path and the host that were judged, whatever its route has made of them. Its fields are as they go on.
struct AsJudged<'a> {
    head: &'a Head,
    start: Start,
}

impl RequestHead for AsJudged<'_> {
    fn method(&self) -> &[u8] {
        self.head.method_bytes()
    }

    fn authority(&self) -> &[u8] {
        match self.start {
            Start::Request { authority, .. } => self.head.slice(authority),
            Start::Response { .. } | Start::Trailers => b"",
        }
    }

    fn path_and_query(&self) -> &[u8] {
        match self.start {
            Start::Request { path, .. } => self.head.slice(path),
            Start::Response { .. } | Start::Trailers => b"",
        }
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let found = match name {
            ":path" => self.path_and_query(),
            ":authority" | "host" => self.authority(),
            name => return self.head.header(name),
        };
        (!found.is_empty()).then_some(found)
    }

    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> Option<bool> {
        match name {
            ":path" | ":authority" | "host" => self.header(name).map(test),
            name => self.head.any_value(name, test),
        }
    }
}
