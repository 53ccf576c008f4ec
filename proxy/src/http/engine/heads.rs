//! Heads of answers that wait for their caller.
//!
//! Of bodies a caller has to take what there is before more comes. Heads and trailers have no credit: a caller that reads nothing
//! could have those of all its streams wait, and each may be large.

use weft_config::flag::ResponseFlag;

use super::Engine;
use super::connection::ConnId;
use super::exchange::ExchangeId;
use crate::http::codec::Reason;
use crate::http::head::Head;
use crate::telemetry::Limit;

/// Bytes that wait on a connection that exchanges share, behind which no answer begins and no trailers are taken.
const WAITING_BYTES_MAX: usize = 2 * 1024 * 1024;

impl Engine {
    /// Whether `head` of the answer to `id` may wait for the downstream with all that does. If not, that answer is over.
    pub(super) fn admits_head(&mut self, id: ExchangeId, head: &Head) -> bool {
        let Some(exchange) = self.exchanges.get(id) else {
            return true;
        };
        let (down, stream) = (exchange.down, exchange.stream);
        let full = self.wires.get(down).is_some_and(|down| {
            let waits = down.out.len() + down.trailers_held;
            down.codec.is_multiplexed() && waits + head.bytes.len() > WAITING_BYTES_MAX
        });
        if full {
            self.scope.limits.hit(Limit::WaitingHeads);
            let why = "the downstream does not take the heads of its answers";
            self.abandon(id, ResponseFlag::LR, why);
            self.reset_stream(down, stream, Reason::Internal);
        }
        !full
    }

    /// Trailers wait behind what the downstream has not taken.
    pub(super) fn hold_trailers(&mut self, down: ConnId, bytes: usize) {
        if let Some(down) = self.wires.get_mut(down) {
            down.trailers_held += bytes;
        }
    }

    /// Trailers that waited are written, or over.
    pub(super) fn give_trailers(&mut self, down: ConnId, trailers: Head) {
        if let Some(down) = self.wires.get_mut(down) {
            down.trailers_held = down.trailers_held.saturating_sub(trailers.bytes.len());
        }
        self.heads.give(trailers);
    }
}
