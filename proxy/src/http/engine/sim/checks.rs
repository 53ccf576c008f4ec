//! What holds of a run at every moment, and at its end.

use super::world::World;
use crate::http::codec::Codec;
use crate::http::engine::ExchangeId;
use crate::http::engine::connection::Role;
use crate::http::engine::wires::READ_BYTES;
use crate::route::Routed;
use crate::telemetry::Resource;

impl World {
    /// A request goes where the newest snapshot says when it is routed, and stays with that.
    pub(super) fn check_routes(&mut self) {
        let exchanges = &self.engine.exchanges;
        self.routed.retain(|id| exchanges.get(*id).is_some());
        for id in self.engine.exchanges.keys() {
            let routed = self.engine.exchanges.get(id).unwrap().routed.as_ref();
            let Some(cluster) = routed.and_then(Routed::weighted) else {
                continue;
            };
            if !self.routed.contains(&id) {
                assert_eq!(&*cluster.name, self.changes.newest(), "an old route");
                self.routed.push(id);
            }
        }
    }

    /// What waits in memory is bounded, whatever the peers do.
    pub(super) fn check_bounds(&self) {
        let most = self.stash_max + 4 * READ_BYTES + 400_000;
        for link in &self.links {
            let waiting = self.engine.pending(link.id).len();
            assert!(
                waiting <= most,
                "{waiting} bytes wait to be written, {most} may"
            );
        }
        for id in self.engine.wires.ids() {
            let connection = self.engine.wires.get(id).unwrap();
            if let (Role::Upstream(_), Codec::H2(codec)) = (&connection.role, &connection.codec) {
                let served = connection.streams.all().len();
                assert!(
                    codec.streams() <= served,
                    "a stream that nobody has to do with"
                );
            }
        }
        for id in self.engine.exchanges.keys() {
            self.check_held(id);
        }
    }

    /// What an exchange holds back is what its sender could send before it is held up itself.
    fn check_held(&self, id: ExchangeId) {
        let exchange = self.engine.exchanges.get(id).unwrap();
        let room = |shared: bool, window: i64| match shared {
            // Beside what another attempt may need.
            true => usize::try_from(window).unwrap() + self.stash_max,
            false => self.stash_max + READ_BYTES,
        };
        let (down, up) = self.stream_windows;
        let from_down = exchange.body.waiting() + exchange.raw_from_down.len();
        let most = room(self.engine.is_shared(exchange.down), down);
        assert!(
            from_down <= most,
            "{from_down} of a request wait, {most} may"
        );
        let from_up = exchange.rest.waiting() + exchange.raw_from_up.len();
        let most = room(exchange.attempt.http2, up);
        assert!(from_up <= most, "{from_up} of an answer wait, {most} may");
    }

    /// Everybody has heard what was to be heard, or found the connection closed.
    pub(super) fn check_clients(&self) {
        for link in &self.links {
            let peer = &link.peer;
            assert!(
                !peer.is_client() || !peer.is_tame() || peer.is_done() || link.told,
                "a client waits for ever"
            );
            let closed = link.told || link.left || link.dropped;
            assert!(
                closed || !peer.is_tame() || peer.is_acknowledged(),
                "settings or a PING were not answered"
            );
            if self.clean {
                let complaints = peer.complaints();
                assert!(complaints.is_empty(), "{complaints:?}");
                assert!(
                    peer.is_done(),
                    "closed before the last answer: {:?}",
                    link.id
                );
            }
        }
        for (request, tries) in self.book.requests.iter().zip(&self.book.tries) {
            let repeats = self.retries || request.method != "POST";
            assert!(
                tries.begun <= 1 || repeats,
                "{} was begun twice",
                request.id
            );
            assert!(tries.begun <= 4, "{}: {tries:?}", request.id);
        }
    }

    pub(super) fn check_empty(&self) {
        assert_eq!(self.engine.population(), (0, 0), "connections, exchanges");
        assert!(
            self.links.iter().all(|link| link.dropped),
            "a socket was kept"
        );
        assert!(self.engine.pools.by_key.is_empty(), "a pool was kept");
        assert_eq!(self.engine.pools.attempts.len(), 0, "a connect was kept");
        assert_eq!(self.engine.next_deadline(), None);
        for resource in [
            Resource::Connection,
            Resource::Pending,
            Resource::Request,
            Resource::Retry,
        ] {
            for cluster in self.changes.clusters() {
                assert_eq!(cluster.stats.active(resource), 0, "{resource:?}");
            }
        }
        for cluster in self.changes.clusters() {
            for endpoint in cluster.endpoints(self.now) {
                assert_eq!(endpoint.state.active(), 0, "requests of an endpoint");
            }
        }
    }
}
