//! The life of an upstream connection while it serves an exchange.

use super::Engine;
use super::connection::{ConnId, Connection};
use super::exchange::ExchangeId;
use super::failure::Failure;
use crate::http::codec::Event;

impl Engine {
    pub(super) fn on_upstream_event(&mut self, id: ConnId, event: Event<'_>) {
        let Some(exchange) = self.wires.get(id).and_then(Connection::exchange) else {
            return match event {
                // The rest of an answer that was thrown away; what this turn does not bring costs the connection.
                Event::Data { .. } => {}
                Event::Trailers { head, .. } => self.heads.give(head),
                _ => self.close(id),
            };
        };
        match event {
            Event::Head { head, end, .. } => self.on_response(exchange, head, end),
            Event::Interim { head, .. } => self.on_interim(exchange, head),
            Event::Data { bytes, end, .. } => self.on_response_data(exchange, bytes, end),
            Event::Trailers { head, .. } => self.on_response_trailers(exchange, head),
            Event::Raw { bytes, .. } => {
                if let Some(exchange) = self.exchanges.get_mut(exchange) {
                    exchange.raw_from_up.extend_from_slice(bytes);
                }
            }
            Event::Reset { .. } => self.upstream_failed(exchange, &Failure::Reset),
            Event::Writable { .. } => {}
        }
    }

    /// The endpoint closed its side: the end of an answer, or of a connection at rest, or a failure.
    pub(super) fn upstream_ended(&mut self, id: ConnId) {
        let Some(connection) = self.wires.get_mut(id) else {
            return;
        };
        let Some(exchange) = connection.exchange() else {
            return self.close(id);
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
        match self.wires.get(id).and_then(Connection::exchange) {
            Some(exchange) if self.serves(id, exchange) => {
                self.upstream_failed(exchange, &Failure::Closed);
            }
            _ => self.close(id),
        }
    }

    /// Whether `id` is still the connection of `exchange`.
    fn serves(&self, id: ConnId, exchange: ExchangeId) -> bool {
        self.exchanges
            .get(exchange)
            .is_some_and(|exchange| exchange.attempt.up == Some(id))
    }
}
