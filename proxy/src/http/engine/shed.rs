//! Shedding load: what is refused of requests, and what is given back.

use weft_config::bootstrap::overload::Resource;
use weft_config::flag::ResponseFlag;

use super::Engine;
use super::connection::{Closing, ConnId};
use super::request::{Refusal, refuse};
use crate::http::head::HeadPool;
use crate::overload::Overload;
use crate::telemetry::{Limit, LimitStats};

/// Refuses a new request while load is shed.
pub(super) fn check_load(
    overload: &Overload,
    rng: &mut fastrand::Rng,
    limits: &LimitStats,
) -> Result<(), Refusal> {
    let Some(short_of) = overload.refuses_request(rng) else {
        return Ok(());
    };
    limits.hit(Limit::ShedRequests);
    let reason = match short_of {
        Resource::Memory => "the proxy is short of memory and takes no new requests",
        Resource::Connections => "the proxy is short of connections and takes no new requests",
    };
    Err(refuse(503, ResponseFlag::OM, reason))
}

impl Engine {
    /// Refuses a request of which only a part of the head is there, while load is shed: collecting the rest takes memory,
    /// for what would be refused.
    pub(super) fn shed_unfinished_head(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        // Where heads of many requests come, others may be complete: each is refused when it is.
        let shared = connection.codec.is_multiplexed();
        if connection.closing != Closing::No || shared || !connection.streams.is_empty() {
            return;
        }
        let checked = check_load(&self.overload, &mut self.rng, &self.scope.limits);
        if let Err(reply) = checked {
            connection.codec.refuse_input();
            self.reply_without_exchange(id, &reply.closing());
        }
    }

    /// Frees what is only kept for reuse.
    pub(crate) fn give_back_spares(&mut self) {
        self.heads = HeadPool::new();
        self.exchanges.give_back_spares();
        self.wires.give_back_spares();
    }
}
