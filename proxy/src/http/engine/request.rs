//! The request's path: from its head to the attempt that serves it.

use std::sync::Arc;

use weft_config::flag::ResponseFlag;
use weft_config::listener::Direction;
use weft_config::policy::access::Claims;
use weft_config::route::{Route, RouteAction};

use super::body::{AnswerRest, RequestBody};
use super::connection::{ConnId, Connection};
use super::exchange::{Answer, Asks, Attempt, Deadlines, Exchange, ExchangeId, Phase};
use super::failure::Failure;
use super::filters::Verdict;
use super::finish::is_call;
use super::local_reply::{Body, LocalReply};
use super::shared::sink;
use super::shed::check_load;
use super::{Action, Engine};
use crate::http::codec::StreamId;
use crate::http::head::{Head, Known, Method, Scheme};
use crate::policy::CallerTerms;
use crate::route::{self, Lookup, Routed};
use crate::snapshot::{Absence, ListenerView, Ticket};
use crate::telemetry::Limit;

/// Requests of a worker that wait for a name at once.
const NAMING_MAX: usize = 1024;

/// A refusal, boxed because the way without one is the common one.
pub(super) type Refusal = Box<LocalReply>;

impl Engine {
    /// A request head has arrived: decide where it goes. Everything here is synchronous; what must wait says so and is
    /// resumed at the same point.
    pub(super) fn on_request(&mut self, down: ConnId, stream: StreamId, head: Head, end: bool) {
        let Some(id) = self.begin(down, stream, head, end) else {
            return;
        };
        if self.is_shared(down) {
            // What is taken back with the bytes that asked for it reaches no endpoint (RFC 9113 §10.5): one that counts
            // such streams would end the connection, and with it what others asked.
            self.asked.push(id);
        } else {
            self.proceed(id);
        }
    }

    /// Goes on with the requests that were found in what was read last.
    pub(super) fn proceed_with_asked(&mut self) {
        let mut asked = std::mem::take(&mut self.asked);
        for id in asked.drain(..) {
            self.proceed(id);
        }
        self.asked = asked;
    }

    /// Goes on with a request from where it stands, until it is answered, on its way, or waits.
    pub(super) fn proceed(&mut self, id: ExchangeId) {
        if let Err(reply) = self.decide(id) {
            self.reply(id, &reply);
        }
    }

    fn decide(&mut self, id: ExchangeId) -> Result<(), Refusal> {
        while let Some(phase) = self.exchanges.get(id).map(|exchange| exchange.phase) {
            let next = match phase {
                Phase::Naming => {
                    let Some(listener) = self.find_listener(id)? else {
                        return Ok(());
                    };
                    self.find_route(id, &listener)?;
                    Phase::Filtering(0)
                }
                Phase::Filtering(index) => match self.filter(id, index)? {
                    Verdict::Next => Phase::Filtering(index + 1),
                    Verdict::Wait => return Ok(()),
                    Verdict::Through => {
                        if let Some(exchange) = self.exchanges.get_mut(id) {
                            exchange.judged = Some(exchange.head.start());
                        }
                        self.prepare(id)?;
                        return self.forward(id);
                    }
                },
                Phase::Backoff => return self.forward(id),
                Phase::Pending | Phase::Streaming | Phase::Tunnel | Phase::Switching => {
                    return Ok(());
                }
            };
            if let Some(exchange) = self.exchanges.get_mut(id) {
                exchange.phase = next;
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        down: ConnId,
        stream: StreamId,
        head: Head,
        end: bool,
    ) -> Option<ExchangeId> {
        let (now, draining) = (self.now, self.draining);
        let Some(connection) = self.wires.get_mut(down) else {
            self.heads.give(head);
            return None;
        };
        let multiplexed = connection.codec.is_multiplexed();
        let Some(downstream) = connection.as_downstream() else {
            self.heads.give(head);
            return None;
        };
        if !multiplexed {
            downstream.head_since = None;
        }
        downstream.requests += 1;
        downstream.draining |= draining && !multiplexed;
        let asks = Asks::of(&head, end, multiplexed);
        let exchange = Exchange {
            facts: downstream.facts.clone(),
            down,
            stream,
            phase: Phase::Naming,
            asks,
            head,
            judged: None,
            // What comes behind a head that asks to leave HTTP is no body.
            body: RequestBody::new(0, end || asks.opaque),
            routed: None,
            attempt: Attempt::default(),
            retry: None,
            terms: None,
            claims: Claims::default(),
            held: None,
            avoid: smallvec::SmallVec::new(),
            answer: Answer::default(),
            withheld: None,
            rest: AnswerRest::default(),
            deadlines: Deadlines::none(now),
            limits: downstream.limits,
            log: None,
            client: downstream.facts.peer.ip(),
            started_at: now,
            raw_from_down: Vec::new(),
            raw_ended: false,
            websocket_accept: None,
            raw_from_up: Vec::new(),
        };
        let id = self.exchanges.insert(exchange);
        connection.streams.insert(stream, id);
        Some(id)
    }

    /// The listener in force for this request; `None`: its name is being asked for.
    fn find_listener(&mut self, id: ExchangeId) -> Result<Option<Arc<ListenerView>>, Refusal> {
        let Some(exchange) = self.exchanges.get(id) else {
            return Ok(None);
        };
        let snapshot = self.snapshots.pointer().load();
        match route::listener(&snapshot, &exchange.facts, &exchange.head, &mut self.text) {
            Lookup::Found(listener) => Ok(Some(listener)),
            Lookup::Pending(ticket) => {
                drop(snapshot);
                self.wait_for_name(id, ticket).map(|()| None)
            }
            Lookup::Absent(why) => Err(self.absent(why, &self.text)),
            Lookup::NoHost => Err(refuse(400, ResponseFlag::NR, "the request names no host")),
            Lookup::NoListener => Err(refuse(
                404,
                ResponseFlag::NR,
                format!("no listener {} is in force", exchange.facts.listener),
            )),
        }
    }

    fn absent(&self, why: Absence, name: &str) -> Refusal {
        let status = match why {
            Absence::Unknown => 404,
            Absence::TimedOut | Absence::TooMany => 503,
        };
        if why == Absence::TooMany {
            self.scope.limits.hit(Limit::Names);
        }
        let of = if name.is_empty() {
            String::new()
        } else {
            format!("{name}: ")
        };
        refuse(status, ResponseFlag::NR, format!("{of}{why}"))
    }

    fn wait_for_name(&mut self, id: ExchangeId, ticket: Ticket) -> Result<(), Refusal> {
        if self.naming >= NAMING_MAX {
            self.scope.limits.hit(Limit::Names);
            return Err(refuse(
                503,
                ResponseFlag::UO,
                "too many requests wait for a name",
            ));
        }
        self.naming += 1;
        self.actions.push(Action::Name {
            exchange: id,
            ticket,
        });
        Ok(())
    }

    /// The authority of a request, for people.
    fn asked_for(&self, id: ExchangeId) -> String {
        let authority = self
            .exchanges
            .get(id)
            .map(|exchange| exchange.head.authority());
        String::from_utf8_lossy(authority.unwrap_or_default()).into_owned()
    }

    /// The control plane has answered what a request waited for (or gave up on).
    pub(crate) fn named(
        &mut self,
        id: ExchangeId,
        answer: Result<Arc<ListenerView>, Absence>,
        now: tokio::time::Instant,
    ) {
        self.now = now;
        self.naming = self.naming.saturating_sub(1);
        let waiting = self
            .exchanges
            .get(id)
            .is_some_and(|exchange| exchange.phase == Phase::Naming);
        if waiting {
            match answer
                .or_else(|why| self.unknown(id, why))
                .and_then(|listener| self.find_route(id, &listener))
            {
                Ok(()) => {
                    if let Some(exchange) = self.exchanges.get_mut(id) {
                        exchange.phase = Phase::Filtering(0);
                    }
                    self.proceed(id);
                }
                Err(reply) => self.reply(id, &reply),
            }
        }
        self.settle();
    }

    /// Where a request goes whose name is not to be had.
    fn unknown(&self, id: ExchangeId, why: Absence) -> Result<Arc<ListenerView>, Refusal> {
        let snapshot = self.snapshots.pointer().load();
        let exchange = self.exchanges.get(id);
        let listener = exchange.and_then(|it| route::for_unknown(&snapshot, &it.facts));
        listener.ok_or_else(|| self.absent(why, &self.asked_for(id)))
    }

    /// Holds the view that decides about this request, and finds its route in it.
    fn find_route(&mut self, id: ExchangeId, listener: &ListenerView) -> Result<(), Refusal> {
        let random = self.rng.u64(..);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Ok(());
        };
        let chain = listener.find_chain(&exchange.facts);
        let Some((chain, view)) = chain.and_then(|it| Some((it, it.http()?))) else {
            return Err(refuse(
                404,
                ResponseFlag::NR,
                format!(
                    "no HTTP filter chain of listener {} takes this connection",
                    listener.config.name
                ),
            ));
        };
        exchange.begin_log(&view.scope);
        check_load(&self.overload, &mut self.rng, &self.scope.limits)?;
        exchange.limits = view.hcm.limits;
        exchange.deadlines.idle = view.hcm.limits.stream_idle_timeout;
        let down = exchange.down;
        let mut worn = false;
        if let Some(down) = self.wires.get_mut(down).and_then(Connection::as_downstream) {
            let max = view.hcm.limits.requests_per_connection_max;
            down.limits = view.hcm.limits;
            worn = max > 0 && down.requests >= max;
        }
        exchange.receive_forwarded(&view.hcm, &mut self.rng, &mut self.text);
        // Others' callers do not say how often a workload is tried; their sidecars do (Envoy's sanitizing of external
        // requests). Routes see what remains.
        let ours = listener.config.direction == Direction::Outbound && !view.hcm.use_remote_address;
        if !ours {
            CallerTerms::take(&mut exchange.head);
        }
        exchange.admit_connection(chain)?;
        route::normalize(&mut exchange.head, &view.hcm, &mut self.bytes)
            .map_err(|error| refuse(400, ResponseFlag::DPE, error.to_string()))?;
        route::find(view.clone(), &exchange.head, random, self.rng.u64(..))
            .map_err(|why| refuse(why.status(), ResponseFlag::NR, why.to_string()))
            .and_then(|routed| exchange.take_route(routed))
            .map_err(|refusal| exchange.admit_astray(view, &mut self.tokens, refusal))?;
        exchange.terms = CallerTerms::take(&mut exchange.head);
        exchange.bound_request(self.now);
        self.arm_exchange(id);
        if worn {
            self.drain_connection(down);
        }
        Ok(())
    }

    /// All filters let the request pass: what the route says is done to it.
    fn prepare(&mut self, id: ExchangeId) -> Result<(), Refusal> {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Ok(());
        };
        let Some(routed) = exchange.routed.take() else {
            return Ok(());
        };
        let result = match routed.route().map(|route| (route, &route.action)) {
            Some((route, RouteAction::Forward(forward))) => {
                exchange.edit_request(route, forward, &routed, &mut self.bytes);
                Ok(())
            }
            Some((_, RouteAction::Direct { status, body })) => Err(Box::new(
                LocalReply::configured(*status, Body::Text(body.clone()), "direct_response"),
            )),
            Some((route, RouteAction::Redirect(redirect))) => {
                Err(redirected(exchange, route, redirect))
            }
            Some((_, RouteAction::Broken(why))) => Err(refuse(
                500,
                ResponseFlag::NFCF,
                format!("the route could not be read: {why}"),
            )),
            None => Err(refuse(404, ResponseFlag::NR, "the route is gone")),
        };
        exchange.routed = Some(routed);
        result
    }

    /// A piece of the request's body.
    pub(super) fn on_request_data(&mut self, id: ExchangeId, bytes: &[u8], end: bool) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.deadlines.moved_at = now;
        if exchange.asks.opaque && exchange.phase != Phase::Tunnel {
            exchange.raw_from_down.extend_from_slice(bytes);
            exchange.raw_ended |= end;
            return;
        }
        let room = exchange.limits.buffer_bytes_max;
        let up = exchange.attempt.up;
        let sink = up.and_then(|up| sink(&mut self.wires, up.conn, up.stream, room));
        if let Err(refused) = exchange.body.pass(bytes, end, sink) {
            return self.upstream_failed(id, &Failure::Refused(refused.to_string()));
        }
        self.credit_request(id);
        if end {
            self.request_ended(id);
        }
    }

    /// The fields behind the request's body.
    pub(super) fn on_request_trailers(&mut self, id: ExchangeId, mut head: Head) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return self.heads.give(head);
        };
        exchange.disown(&mut head);
        exchange.deadlines.moved_at = self.now;
        let room = exchange.limits.buffer_bytes_max;
        let up = exchange.attempt.up;
        let sink = up.and_then(|up| sink(&mut self.wires, up.conn, up.stream, room));
        if let Err(refused) = exchange.body.pass_trailers(head, sink) {
            return self.upstream_failed(id, &Failure::Refused(refused.to_string()));
        }
        self.request_ended(id);
    }

    /// The whole request is here: its time begins.
    pub(super) fn request_ended(&mut self, id: ExchangeId) {
        if self.is_tunnel(id) {
            self.bound_half_closed(id);
            return self.tunnel_drained(id);
        }
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.bound_answer(self.now);
        }
        self.arm_exchange(id);
        self.try_complete(id);
    }
}

impl Exchange {
    /// Holds the route, if it may take such a request at all.
    fn take_route(&mut self, routed: Routed) -> Result<(), Refusal> {
        let allowed = route::permits(&routed, &self.head, self.asks.connect);
        let logged = routed.route().map(|route| route.name.clone());
        if let (Some(log), Some(name), Some(cluster)) = (&mut self.log, logged, routed.cluster()) {
            log.routed(&cluster.stats, &name);
        }
        self.routed = Some(routed);
        match allowed {
            Ok(upgrade) => {
                self.asks.upgrade = upgrade;
                Ok(())
            }
            Err(why) => Err(refuse(403, ResponseFlag::NR, why.to_string())),
        }
    }

    /// Whether the downstream's half of the stream is over.
    pub(super) fn is_received(&self) -> bool {
        self.body.ended && (!self.asks.opaque || self.raw_ended || self.phase == Phase::Tunnel)
    }

    /// Whether bytes are about to leave HTTP on this exchange, so that nothing more is read into it.
    pub(super) fn leaves_http(&self) -> bool {
        self.phase == Phase::Switching
    }
}

impl Asks {
    fn of(head: &Head, end: bool, multiplexed: bool) -> Self {
        let method = head.method();
        Self {
            head_only: method == Some(Method::Head),
            connect: method == Some(Method::Connect),
            content: !end,
            upgrade: false,
            grpc: is_call(head),
            opaque: multiplexed && (method == Some(Method::Connect) || head.upgrade().is_some()),
            idempotent: method.is_some_and(Method::is_idempotent),
        }
    }
}

/// How a refusal is written in one line.
pub(super) fn refuse(
    status: u16,
    flag: ResponseFlag,
    reason: impl Into<std::borrow::Cow<'static, str>>,
) -> Refusal {
    Box::new(LocalReply::new(status, flag, reason))
}

fn redirected(
    exchange: &Exchange,
    route: &Route,
    redirect: &weft_config::route::Redirect,
) -> Refusal {
    let mut location = Vec::new();
    let scheme = match exchange.head.get(Known::XForwardedProto) {
        Some(b"https") => "https",
        _ if exchange.head.scheme() == Scheme::Https => "https",
        _ => "http",
    };
    redirect.location(&exchange.head, scheme, &route.matches.path, &mut location);
    let location = String::from_utf8_lossy(&location).into_owned();
    Box::new(
        LocalReply::configured(redirect.status, Body::Empty, "redirect").with("location", location),
    )
}
