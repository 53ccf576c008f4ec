//! What goes wrong with an attempt, and what the downstream hears of it.

use std::time::Duration;

use weft_config::flag::ResponseFlag;

use super::exchange::{Exchange, ExchangeId, Phase, UpStream};
use super::local_reply::LocalReply;
use super::{Action, Engine};
use crate::balance::Outcome;
use crate::http::codec::{ProtocolError, Reason, Refused};
use crate::policy::RetryState;

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection could be opened.
    Connect(String),
    /// The connection broke before the answer was complete.
    Closed,
    /// The endpoint gave this stream up.
    Reset,
    /// The endpoint gave this stream up, and said that it had not begun.
    NotBegun,
    /// No answer within the attempt's time.
    TryTimedOut,
    /// No answer within the request's time.
    TimedOut,
    /// What the endpoint sent is not HTTP.
    Protocol(String),
    /// What the endpoint sent is HTTP, and not taken here.
    Untaken(&'static str),
    /// The request's head is larger than the endpoint takes.
    RequestTooLarge(String),
    /// The answer's head is larger than the downstream takes.
    AnswerTooLarge(String),
    /// Our side of it could not be written: edits made the request malformed.
    Refused(String),
}

impl Failure {
    /// What an endpoint sent cannot be used.
    pub(super) fn of_upstream(error: ProtocolError) -> Self {
        match error {
            ProtocolError::AnswerInHttp1 => Self::Untaken(
                "answered in HTTP/1, and its cluster says HTTP/2 (http2_protocol_options, appProtocol)",
            ),
            ProtocolError::HeadTooLarge
            | ProtocolError::BlockTooLarge
            | ProtocolError::TooManyContinuations => {
                Self::Untaken("sent a head of more than the 61440 bytes that answers may have")
            }
            ProtocolError::TooManyFields => {
                Self::Untaken("sent a head of more than the 100 fields that answers may have")
            }
            ProtocolError::TrailersTooLarge => Self::Untaken(
                "sent trailers of more than the 61440 bytes or 100 fields that answers may have",
            ),
            ProtocolError::TooManyInterims => {
                Self::Untaken("sent more interim responses than --interim-responses-max")
            }
            _ => Self::Protocol(error.to_string()),
        }
    }

    /// A request's head was not written.
    pub(super) fn of_request(refused: Refused) -> Self {
        match refused {
            Refused::HeadTooLarge { .. } => Self::RequestTooLarge(refused.to_string()),
            _ => Self::Refused(refused.to_string()),
        }
    }

    /// An answer's head was not written.
    pub(super) fn of_answer(refused: Refused) -> Self {
        match refused {
            Refused::HeadTooLarge { .. } => Self::AnswerTooLarge(refused.to_string()),
            _ => Self::Protocol(refused.to_string()),
        }
    }

    fn flag(&self) -> ResponseFlag {
        match self {
            Self::Connect(_) => ResponseFlag::UF,
            Self::Closed => ResponseFlag::UC,
            Self::Reset | Self::NotBegun => ResponseFlag::UR,
            Self::TryTimedOut | Self::TimedOut => ResponseFlag::UT,
            Self::Protocol(_) | Self::Untaken(_) | Self::AnswerTooLarge(_) => ResponseFlag::UPE,
            Self::RequestTooLarge(_) => ResponseFlag::DPE,
            Self::Refused(_) => ResponseFlag::LR,
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::Connect(_) | Self::Closed | Self::Reset | Self::NotBegun => 503,
            Self::TryTimedOut | Self::TimedOut => 504,
            Self::Protocol(_) | Self::Untaken(_) | Self::AnswerTooLarge(_) => 502,
            Self::RequestTooLarge(_) => 431,
            Self::Refused(_) => 500,
        }
    }

    /// What the balancer hears; connecting was reported when it failed.
    fn outcome(&self) -> Option<Outcome> {
        match self {
            // Whoever goes away in order has done nothing wrong.
            Self::Connect(_) | Self::Refused(_) | Self::NotBegun => None,
            // What one takes the other does not: neither is to blame.
            Self::RequestTooLarge(_) | Self::AnswerTooLarge(_) => None,
            Self::Closed | Self::Reset => Some(Outcome::Reset),
            Self::TryTimedOut | Self::TimedOut => Some(Outcome::TimedOut),
            Self::Protocol(_) | Self::Untaken(_) => Some(Outcome::Status(502)),
        }
    }

    fn sentence(&self, exchange: &Exchange) -> String {
        let endpoint = exchange.endpoint_name();
        let did_not = match exchange.answer.begun {
            true => "did not finish its answer",
            false => "did not answer",
        };
        match self {
            Self::Connect(why) => format!("no connection to the upstream: {why}"),
            Self::Closed => {
                format!("upstream {endpoint} closed the connection before its answer was complete")
            }
            Self::Reset => format!("upstream {endpoint} reset the request"),
            Self::NotBegun => format!("upstream {endpoint} did not begin the request"),
            Self::TryTimedOut => {
                format!("upstream {endpoint} {did_not} within the attempt's time-out")
            }
            Self::TimedOut => {
                format!("upstream {endpoint} {did_not} within the route's time-out")
            }
            Self::Protocol(why) => format!("upstream {endpoint} sent what is not HTTP: {why}"),
            Self::Untaken(why) => format!("upstream {endpoint} {why}"),
            Self::RequestTooLarge(why) => {
                format!("the request is too large for upstream {endpoint}: {why}")
            }
            Self::AnswerTooLarge(why) => {
                format!("the answer of upstream {endpoint} is too large for the downstream: {why}")
            }
            Self::Refused(why) => format!("the edited request cannot be sent: {why}"),
        }
    }
}

impl Engine {
    /// The attempt that runs has failed: there is another, or the downstream hears of it.
    pub(super) fn upstream_failed(&mut self, id: ExchangeId, failure: &Failure) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.attempt.status_due = false;
        if let Some(outcome) = failure.outcome() {
            exchange.report(outcome, self.now);
        }
        if !exchange.answer.begun {
            if self.replaces_dead_connection(id, failure) {
                return self.try_replaced(id);
            }
            if self.goes_elsewhere(id, failure) {
                return self.try_again(id, Duration::ZERO);
            }
            if let Some(pause) = self.retry_on_failure(id, failure) {
                return self.try_again(id, pause);
            }
        }
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let mut sentence = failure.sentence(exchange);
        if let Some(why) = exchange.retry.as_ref().and_then(RetryState::gave_up) {
            // Beside what failed last, whether it was the route or the cluster's budget that ended the attempts.
            sentence.push_str("; ");
            sentence.push_str(why);
        }
        let reply = LocalReply::new(failure.status(), failure.flag(), sentence);
        self.reply(id, &reply);
    }

    /// Ends the attempt that runs, whose connection cannot be used any more.
    pub(super) fn drop_attempt(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let attempt = &mut exchange.attempt;
        attempt.active = None;
        attempt.waiting = None;
        attempt.began_at = None;
        attempt.retrying = None;
        attempt.status_due = false;
        exchange.deadlines.attempt = None;
        exchange.deadlines.withheld = None;
        if let Some(head) = exchange.withheld.take() {
            self.heads.give(head);
        }
        let up = attempt.up.take();
        if let (Phase::Pending, Some(endpoint)) = (exchange.phase, &attempt.endpoint) {
            let pool = attempt.pool(endpoint.id);
            self.pools.leave(pool, id);
        }
        if let Some(up) = up {
            self.give_up_stream(up, Reason::Cancelled);
        }
    }

    /// Ends the upstream half of an exchange before its time.
    pub(super) fn give_up_stream(&mut self, up: UpStream, why: Reason) {
        let Some(connection) = self.wires.get_mut(up.conn) else {
            return;
        };
        connection.streams.remove(up.stream);
        connection.active_at = self.now;
        let tunnel = connection.codec.is_tunnel(up.stream);
        connection.codec.reset(up.stream, why);
        if connection.codec.is_multiplexed() {
            self.flush_codec(up.conn);
            self.freed.push(up.conn);
        } else {
            // On HTTP/1 the connection is the stream. Of a tunnel nothing but a reset says that bytes are missing.
            if tunnel {
                self.actions.push(Action::Abort(up.conn));
            }
            self.close(up.conn);
        }
    }
}

impl Exchange {
    fn endpoint_name(&self) -> String {
        use weft_config::endpoint::Address;
        match self
            .attempt
            .endpoint
            .as_ref()
            .map(|endpoint| &endpoint.address)
        {
            Some(Address::Socket(address)) => address.to_string(),
            Some(Address::Pipe(path)) => path.to_string(),
            None => "(none)".to_owned(),
        }
    }
}
