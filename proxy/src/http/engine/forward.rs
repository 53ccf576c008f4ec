//! From a decided request to an attempt: an endpoint is chosen, a connection found, the head written.

use std::sync::Arc;

use weft_config::cluster::UpstreamProtocol;
use weft_config::flag::ResponseFlag;
use weft_config::route::HostRewrite;

use super::Engine;
use super::body::Sink;
use super::connection::{ConnId, Connection};
use super::exchange::{Asks, Exchange, ExchangeId, Phase, UpStream};
use super::failure::Failure;
use super::pool::Offer;
use super::request::{Refusal, refuse};
use super::websocket;
use crate::balance::{Cluster, EndpointState, PickContext};
use crate::endpoint::OWN_CALL;
use crate::http::codec::{Codec, h1};
use crate::http::head::Version;
use crate::route::Routed;

impl Engine {
    /// Sends the request to an endpoint of its cluster; there may have been attempts before.
    pub(super) fn forward(&mut self, id: ExchangeId) -> Result<(), Refusal> {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Ok(());
        };
        if exchange.deadlines.life.is_some_and(|life| life <= self.now) {
            return Err(Box::new(exchange.too_old()));
        }
        let cluster = exchange.cluster()?;
        if exchange.attempt.running.is_none() {
            exchange.attempt.running = Some(
                cluster
                    .breakers
                    .try_acquire_request()
                    .ok_or_else(|| overflow(&cluster, "running requests"))?,
            );
            exchange.expect_retries();
        }
        let (peer, wanted) = (exchange.facts.peer, exchange.facts.original_dst);
        if cluster.is_own_call(peer, wanted) {
            let details = format!("{}: {OWN_CALL}", exchange.facts.destination());
            return Err(refuse(508, ResponseFlag::NR, details));
        }
        let mut context = PickContext {
            now: self.now,
            rng: &mut self.rng,
            avoid: &exchange.avoid,
            original_dst: exchange.facts.original_dst,
        };
        let endpoint = cluster.pick(&mut context).map_err(|error| {
            refuse(
                503,
                error.flag(),
                format!("cluster {}: {error}", cluster.name),
            )
        })?;
        exchange.check_upgrade(&cluster, &endpoint)?;
        exchange.attempt.count += 1;
        exchange.attempt.active = Some(endpoint.begin());
        exchange.attempt.endpoint = Some(endpoint.clone());
        if let Some(log) = &mut exchange.log {
            log.upstream(&endpoint);
        }
        self.connect(id, &cluster, &endpoint)
    }

    /// Finds a connection to the endpoint, or waits for one.
    pub(super) fn connect(
        &mut self,
        id: ExchangeId,
        cluster: &Arc<Cluster>,
        endpoint: &Arc<EndpointState>,
    ) -> Result<(), Refusal> {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Ok(());
        };
        let fresh = exchange.needs_fresh();
        exchange.attempt.http2 = exchange.goes_over_http2(cluster, endpoint);
        exchange.attempt.opaque = exchange.asks.connect;
        exchange.attempt.beside = exchange.facts.beside;
        let pool = exchange.attempt.pool(endpoint.id);
        let needs_settings = exchange.needs_settings();
        if !fresh && let Some(up) = self.take_idle(pool, cluster) {
            let told = self.wires.get(up).and_then(|it| it.codec.streams_allowed());
            if told.is_some() || !needs_settings {
                self.attach(id, up);
                return Ok(());
            }
        }
        self.wait_for_connection(id, cluster, endpoint)
    }

    fn wait_for_connection(
        &mut self,
        id: ExchangeId,
        cluster: &Arc<Cluster>,
        endpoint: &Arc<EndpointState>,
    ) -> Result<(), Refusal> {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Ok(());
        };
        exchange.attempt.waiting = Some(
            cluster
                .breakers
                .try_acquire_pending()
                .ok_or_else(|| overflow(cluster, "requests waiting for a connection"))?,
        );
        exchange.phase = Phase::Pending;
        let fresh = exchange.needs_fresh();
        let pool = exchange.attempt.pool(endpoint.id);
        match self.pools.wait(id, pool, cluster, endpoint) {
            Offer::Waits => {
                if fresh {
                    self.make_room(pool);
                }
                Ok(())
            }
            Offer::Full => {
                if self.crowd_out(pool) {
                    self.short.push(pool);
                } else if self.pools.waits_in_vain(pool) {
                    self.pools.leave(pool, id);
                    return Err(overflow(cluster, "connections"));
                } else if fresh {
                    self.make_room(pool);
                }
                Ok(())
            }
            Offer::Connect(action) => {
                self.actions.push(action);
                Ok(())
            }
        }
    }

    /// Gives the connection `up` to the exchange and writes the request as far as it is there.
    pub(super) fn attach(&mut self, id: ExchangeId, up: ConnId) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return self.freed.push(up);
        };
        exchange.attempt.waiting = None;
        exchange.attempt.began_at = Some(now);
        exchange.phase = Phase::Streaming;
        exchange.bound_attempt(now);
        exchange.edit_attempt();
        exchange.tell_deadline(now, &mut self.bytes);
        exchange.edit_upgrade(&mut self.rng);
        let sent = exchange.send_to(id, up, self.wires.writer(up));
        match sent {
            Ok(()) => {
                self.note_asked(up);
                self.credit_request(id);
            }
            Err(failure) => return self.upstream_failed(id, &failure),
        }
        if self
            .exchanges
            .get(id)
            .is_some_and(|exchange| exchange.asks.connect)
        {
            return self.tunnel_open(id);
        }
        self.arm_exchange(id);
    }
}

impl Exchange {
    /// The cluster that was drawn, if the proxy has it.
    fn cluster(&self) -> Result<Arc<Cluster>, Refusal> {
        let routed = self.routed.as_ref();
        routed.and_then(Routed::cluster).cloned().ok_or_else(|| {
            let name = routed
                .and_then(Routed::weighted)
                .map_or("", |cluster| &cluster.name);
            refuse(
                503,
                ResponseFlag::NC,
                format!("no cluster {name} is in force"),
            )
        })
    }

    /// An upgrade with content cannot be asked for over HTTP/2: behind the head of an extended CONNECT all bytes are the
    /// tunnel's (RFC 8441 §5), and content would be taken for the first of them.
    fn check_upgrade(&self, cluster: &Cluster, endpoint: &EndpointState) -> Result<(), Refusal> {
        let Asks {
            upgrade,
            content,
            opaque,
            ..
        } = self.asks;
        if upgrade && content && !opaque && self.goes_over_http2(cluster, endpoint) {
            let reason = "an upgrade with content cannot be asked for over HTTP/2 (RFC 8441 §5)";
            return Err(refuse(400, ResponseFlag::DPE, reason));
        }
        Ok(())
    }

    /// Whether no connection serves it that has served before: a tunnel takes its connection along, and a connection that
    /// replaces a dead one has to be alive.
    pub(super) fn needs_fresh(&self) -> bool {
        self.asks.connect || self.attempt.replaced
    }

    /// Edits that depend on the endpoint or the number of the attempt.
    fn edit_attempt(&mut self) {
        let Some(forward) = self.routed.as_ref().and_then(Routed::forward) else {
            return;
        };
        if let (HostRewrite::EndpointHostname, Some(endpoint)) =
            (&forward.host_rewrite, &self.attempt.endpoint)
            && !endpoint.hostname.is_empty()
        {
            self.head.set_authority(endpoint.hostname.as_bytes());
        }
        if forward.include_request_attempt_count {
            let count = self.attempt.count.to_string();
            self.head.set(b"x-envoy-attempt-count", count.as_bytes());
        }
    }

    /// An upgrade is asked for in the words of the protocol that it goes over.
    fn edit_upgrade(&mut self, rng: &mut fastrand::Rng) {
        if !self.asks.upgrade {
            return;
        }
        if !self.attempt.http2 {
            websocket::with_key(&mut self.head, rng);
        } else if let Some(accept) = websocket::without_key(&mut self.head) {
            self.websocket_accept = Some(accept);
        }
    }

    fn send_to(
        &mut self,
        id: ExchangeId,
        conn: ConnId,
        up: Option<&mut Connection>,
    ) -> Result<(), Failure> {
        let gone = || Failure::Closed;
        let up = up.ok_or_else(gone)?;
        let upstream = up.as_upstream().ok_or_else(gone)?;
        upstream.requests += 1;
        if self.asks.connect {
            up.codec = Codec::H1(h1::Conn::tunnel());
        }
        let stream = up.codec.open().ok_or_else(gone)?;
        up.streams.insert(stream, id);
        self.attempt.up = Some(UpStream {
            conn,
            stream,
            begins_at: up.queued(),
        });
        if self.asks.connect {
            return Ok(());
        }
        // The stream that is asked for stays open, and nothing is sent on it before it is granted.
        let opens = self.asks.upgrade && up.codec.is_multiplexed();
        let end = self.body.is_empty() && !opens;
        up.codec
            .head(stream, &self.head, end, &mut up.out)
            .map_err(Failure::of_request)?;
        if !end && !opens {
            let sink = Sink {
                codec: &mut up.codec,
                stream,
                out: &mut up.out,
                room: self.limits.buffer_bytes_max,
            };
            self.body.replay(sink).map_err(Failure::of_request)?;
        }
        Ok(())
    }

    /// Whether what it asks for may be sent only to an endpoint that has said that it takes it.
    pub(super) fn needs_settings(&self) -> bool {
        self.asks.upgrade && self.attempt.http2
    }

    /// Whether the endpoint is spoken to over HTTP/2. A tunnel is not spoken in at all.
    fn goes_over_http2(&self, cluster: &Cluster, endpoint: &EndpointState) -> bool {
        !self.asks.connect
            && match cluster.config().protocol {
                UpstreamProtocol::Http2 => true,
                // A sidecar knows what its application speaks where the cluster says so.
                UpstreamProtocol::Http1 => cluster.is_mesh(endpoint),
                UpstreamProtocol::Downstream => self.head.version() == Version::Http2,
            }
    }
}

pub(super) fn overflow(cluster: &Cluster, of: &str) -> Refusal {
    refuse(
        503,
        ResponseFlag::UO,
        format!("cluster {} has too many {of}", cluster.name),
    )
}
