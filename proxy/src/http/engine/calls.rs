//! What is different for gRPC calls: how one went is said by its status, which may come last.

use tokio::time::Instant;
use weft_config::grpc::GrpcStatus;

use super::exchange::Exchange;
use crate::balance::Outcome;
use crate::http::head::{Head, Known};

impl Exchange {
    /// Tells the balancer how the attempt went, as far as the answer's head says. A call that has no status yet is
    /// judged when it ends, so that it does not count as good first and as failed later.
    ///
    /// A status counts as the HTTP status that says the same; an answer without one, as its own HTTP status.
    pub(super) fn judge_head(&mut self, head: &Head, end: bool, now: Instant) {
        let told = status_of(head).filter(|_| self.asks.grpc);
        self.attempt.status_due = self.asks.grpc && told.is_none() && !end && head.status() == 200;
        if !self.attempt.status_due {
            let status = told.map_or(head.status(), GrpcStatus::as_http);
            self.report(Outcome::Status(status), now);
        }
    }

    /// The answer has ended, with trailers or without: what was not told yet is.
    pub(super) fn judge_end(&mut self, trailers: Option<&Head>, now: Instant) {
        if std::mem::take(&mut self.attempt.status_due) {
            let told = trailers.and_then(status_of);
            self.report(Outcome::Status(told.map_or(200, GrpcStatus::as_http)), now);
        }
    }
}

/// The status that a head or trailers tell.
pub(super) fn status_of(fields: &Head) -> Option<GrpcStatus> {
    fields.get(Known::GrpcStatus).map(GrpcStatus::read)
}
