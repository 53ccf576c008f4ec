//! Filters: a closed set, run by index over the head in place. One that must wait is asked again when its time comes.

use std::sync::Arc;

use weft_config::flag::ResponseFlag;
use weft_config::grpc::GrpcStatus;
use weft_config::policy::FaultAbort;

use super::Engine;
use super::exchange::{Exchange, ExchangeId};
use super::local_reply::LocalReply;
use super::request::{Refusal, refuse};
use crate::http::head::{Head, Known};
use crate::policy::{
    AccessGate, FaultGuard, FaultInjector, JwtGate, LocalRateLimiter, RateDecision,
};
use crate::route::Routed;
use crate::snapshot::FilterView;

/// What a filter says of a request.
pub(super) enum Verdict {
    /// On to the next.
    Next,
    /// Later: the exchange is resumed here.
    Wait,
    /// There are no more.
    Through,
}

/// A fault that was drawn for a request and is under way.
pub(super) struct Held {
    abort: Option<FaultAbort>,
    /// Counts against the greatest number of faults until the request has passed.
    _guard: Option<FaultGuard>,
}

/// What the filter at an index is to do, with whatever the route puts in its place.
enum Step {
    Limit(Arc<LocalRateLimiter>),
    Fault(Arc<FaultInjector>),
    Access(Arc<AccessGate>),
    Tokens(Arc<JwtGate>),
    Unsupported(String),
}

impl Engine {
    /// Runs the filter at `index`.
    pub(super) fn filter(&mut self, id: ExchangeId, index: usize) -> Result<Verdict, Refusal> {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Ok(Verdict::Wait);
        };
        match exchange
            .routed
            .as_ref()
            .and_then(|routed| step(routed, index))
        {
            None => Ok(Verdict::Through),
            Some(Step::Limit(limiter)) => {
                match limiter.check(&exchange.head, exchange.client, self.now, &mut self.rng) {
                    RateDecision::Allow => Ok(Verdict::Next),
                    RateDecision::Deny {
                        retry_after,
                        status,
                    } => Err(limited(&limiter, status, retry_after)),
                }
            }
            Some(Step::Access(gate)) => {
                exchange.admit(&gate)?;
                Ok(Verdict::Next)
            }
            Some(Step::Tokens(gate)) => self.authenticate(id, &gate),
            Some(Step::Fault(injector)) => self.inject(id, &injector),
            Some(Step::Unsupported(reason)) => Err(refuse(500, ResponseFlag::NFCF, reason)),
        }
    }

    /// Holds a request back, answers it, both, or neither.
    fn inject(
        &mut self,
        id: ExchangeId,
        injector: &Arc<FaultInjector>,
    ) -> Result<Verdict, Refusal> {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Ok(Verdict::Wait);
        };
        // Resumed: the delay is over.
        if let Some(held) = exchange.held.take() {
            return exchange.aborted(held.abort);
        }
        let decision = injector.decide(&mut self.rng);
        let Some(delay) = decision.delay else {
            return exchange.aborted(decision.abort);
        };
        exchange.flag(ResponseFlag::DI, "delayed by fault injection");
        exchange.held = Some(Held {
            abort: decision.abort,
            _guard: decision.guard,
        });
        exchange.deadlines.wake_at = Some(self.now + delay);
        self.arm_exchange(id);
        Ok(Verdict::Wait)
    }
}

impl Exchange {
    /// Takes out of trailers what only we may say: who the caller is, and what its token says. A server may put them beside the fields of
    /// the head.
    pub(super) fn disown(&self, trailers: &mut Head) {
        trailers.remove(Known::XForwardedClientCert);
        let filters = self.routed.iter().flat_map(|it| &it.view.filters);
        for filter in filters {
            if let FilterView::Jwt(gate) = filter {
                for name in gate.config().reserved() {
                    trailers.remove_name(name.as_bytes());
                }
            }
        }
    }

    fn aborted(&self, abort: Option<FaultAbort>) -> Result<Verdict, Refusal> {
        let Some(abort) = abort else {
            return Ok(Verdict::Next);
        };
        let mut reply = LocalReply::new(
            abort.http_status,
            ResponseFlag::FI,
            "aborted by fault injection",
        );
        reply.grpc_status = abort.grpc_status.map(GrpcStatus::from);
        Err(Box::new(reply))
    }
}

/// The filter at `index`: of the cluster drawn, else of the route, else of the listener.
fn step(routed: &Routed, index: usize) -> Option<Step> {
    let (names, drawn) = (routed.names(), routed.drawn());
    Some(match routed.view.filters.get(index)? {
        FilterView::LocalRateLimit(listeners) => {
            let drawn = drawn.and_then(|cluster| cluster.rate_limit.as_ref());
            let routes = names.and_then(|route| route.rate_limit.as_ref());
            Step::Limit(drawn.or(routes).unwrap_or(listeners).clone())
        }
        FilterView::Fault(listeners) => {
            let drawn = drawn.and_then(|cluster| cluster.fault.as_ref());
            let routes = names.and_then(|route| route.fault.as_ref());
            Step::Fault(drawn.or(routes).unwrap_or(listeners).clone())
        }
        FilterView::Access(gate) => Step::Access(gate.clone()),
        FilterView::Jwt(gate) => Step::Tokens(gate.clone()),
        FilterView::Unsupported { name, type_url } => {
            Step::Unsupported(format!("filter {name} ({type_url}) is not supported"))
        }
    })
}

fn limited(limiter: &LocalRateLimiter, status: u16, after: std::time::Duration) -> Refusal {
    let reason = format!("rate limit {} allows no more now", limiter.config().name);
    let mut reply = LocalReply::new(status, ResponseFlag::RL, reason).retry_after(after);
    reply.grpc_status = Some(limiter.config().grpc_status);
    Box::new(reply)
}
