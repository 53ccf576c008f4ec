//! The life of an upstream connection while it serves an exchange.

use tracing::debug;

use super::Engine;
use super::connection::ConnId;
use super::exchange::ExchangeId;
use super::failure::Failure;
use crate::http::codec::{Event, Reason};

impl Engine {
    pub(super) fn on_upstream_event(&mut self, id: ConnId, event: Event<'_>) {
        let stream = event.stream();
        let Some(exchange) = self.exchange_on(id, stream) else {
            let shared = self.is_shared(id);
            return match event {
                Event::Head { head, .. } | Event::Interim { head, .. } if shared => {
                    self.heads.give(head)
                }
                _ if shared && !matches!(event, Event::Trailers { .. }) => {}
                // The rest of an answer that was thrown away; what this turn does not bring costs the connection.
                Event::Data { .. } => {}
                Event::Trailers { head, .. } => self.heads.give(head),
                _ => self.close(id),
            };
        };
        if self.answers_unasked(id, exchange) {
            if let Event::Head { head, .. } | Event::Interim { head, .. } = event {
                self.heads.give(head);
            }
            self.note_unsolicited(id);
            return self.upstream_lost(id);
        }
        match event {
            Event::Head { head, end, .. } => self.on_response(exchange, head, end),
            Event::Interim { head, .. } => self.on_interim(exchange, head),
            Event::Data { bytes, end, .. } => self.on_response_data(exchange, bytes, end),
            Event::Trailers { head, .. } => self.on_response_trailers(exchange, head),
            Event::Raw { bytes, .. } => self.on_raw_from_up(exchange, bytes),
            Event::Reset { why, .. } if self.ends_tunnel(exchange, why) => {
                self.tunnel_given_up(exchange);
            }
            Event::Reset { why, .. } => {
                let failure = match why {
                    Reason::NotBegun => Failure::NotBegun,
                    _ => Failure::Reset,
                };
                self.upstream_failed(exchange, &failure);
            }
            Event::Malformed { error, .. } => {
                self.upstream_failed(exchange, &Failure::of_upstream(error));
            }
            Event::Ignored { .. } => {}
        }
    }

    /// Whether a connection of HTTP/1 brings an answer before the socket took a byte of its request: whatever that is about, it
    /// is no answer to this one (RFC 9112 §9.2).
    fn answers_unasked(&self, id: ConnId, exchange: ExchangeId) -> bool {
        let up = self.exchanges.get(exchange).and_then(|it| it.attempt.up);
        let connection = self.wires.get(id);
        connection.zip(up).is_some_and(|(connection, up)| {
            !connection.codec.is_multiplexed()
                && !connection.codec.is_tunnel(up.stream)
                && self.wrote_nothing(up)
        })
    }

    /// An endpoint says on a connection of HTTP/1 what nobody has asked for: whoever asks there next would take it for the answer.
    pub(super) fn note_unsolicited(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let Some(up) = connection.as_upstream() else {
            return;
        };
        up.cluster.stats.unsolicited.inc();
        let cluster = &up.cluster.name;
        debug!(%cluster, "upstream connection closed: its endpoint said more than it was asked");
    }

    /// The endpoint closed its side: the end of an answer, or of a connection at rest, or a failure.
    pub(super) fn upstream_ended(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let Some(exchange) = connection.streams.first() else {
            return self.close(id);
        };
        if connection.codec.is_multiplexed() {
            return self.upstream_lost(id);
        }
        if self.is_tunnel(exchange) {
            return self.on_response_data(exchange, b"", true);
        }
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        // Of an answer that ends with its connection this is the end; any other is cut short.
        if let Ok(Some(event)) = connection.codec.eof() {
            self.on_upstream_event(id, event);
        }
        if self.serves(id, exchange) {
            self.upstream_failed(exchange, &Failure::Closed);
        }
    }

    /// The connection to the endpoint broke.
    pub(super) fn upstream_lost(&mut self, id: ConnId) {
        if let Some(connection) = self.wires.get_mut(id)
            && let Some(up) = connection.as_upstream()
        {
            // No request that is tried again comes back to it.
            up.retired = true;
        }
        for exchange in self.exchanges_on(id) {
            if self.serves(id, exchange) {
                self.upstream_failed(exchange, &Failure::Closed);
            }
        }
        self.close(id);
    }

    /// Whether `id` is still the connection of `exchange`.
    fn serves(&self, id: ConnId, exchange: ExchangeId) -> bool {
        self.exchanges
            .get(exchange)
            .is_some_and(|exchange| exchange.attempt.up.is_some_and(|up| up.conn == id))
    }
}
