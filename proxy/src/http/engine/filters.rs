//! Filters: a closed set, run by index over the head in place. One that must wait is asked again when its time comes.

use super::Engine;
use super::exchange::ExchangeId;
use super::request::{Refusal, refuse};
use crate::snapshot::FilterView;
use weft_config::flag::ResponseFlag;

/// What a filter says of a request.
pub(super) enum Verdict {
    /// On to the next.
    Next,
    /// Later: the exchange is resumed here.
    Wait,
    /// There are no more.
    Through,
}

impl Engine {
    /// Runs the filter at `index`.
    pub(super) fn filter(&mut self, id: ExchangeId, index: usize) -> Result<Verdict, Refusal> {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Ok(Verdict::Wait);
        };
        let Some(routed) = &exchange.routed else {
            return Ok(Verdict::Through);
        };
        let Some(filter) = routed.view.filters.get(index) else {
            return Ok(Verdict::Through);
        };
        match filter {
            FilterView::LocalRateLimit(_) | FilterView::Fault(_) => Ok(Verdict::Next),
            FilterView::Unsupported { name, type_url } => {
                let reason = format!("filter {name} ({type_url}) is not supported");
                Err(refuse(500, ResponseFlag::NFCF, reason))
            }
        }
    }
}
