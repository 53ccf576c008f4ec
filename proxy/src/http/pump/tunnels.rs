//! Upgraded connections: both sockets leave the engine and become a tunnel.

use std::rc::Rc;

use tokio::time::Instant;

use super::{State, Worker};
use crate::http::engine::{ConnId, Switched};
use crate::policy::revoked::revoked;
use crate::stream::Stream;
use crate::tunnel::{self, TunnelOptions};

/// An exchange that left HTTP, with its sockets.
pub(super) struct Tunnel {
    pub(super) switched: Box<Switched>,
    pub(super) down: Stream,
    pub(super) up: Stream,
}

impl State {
    /// The tunnel that the connection `down` has become.
    pub(super) fn take_tunnel(&mut self, down: ConnId) -> Option<Tunnel> {
        let at = self
            .tunnels
            .iter()
            .position(|tunnel| tunnel.switched.down == down)?;
        Some(self.tunnels.swap_remove(at))
    }
}

impl Tunnel {
    /// Passes bytes both ways until the tunnel ends, then counts and logs its request.
    pub(super) async fn carry(mut self, worker: &Rc<Worker>) {
        let options = TunnelOptions {
            preread: std::mem::take(&mut self.switched.preread),
            idle_timeout: self.switched.idle_timeout,
            drain: worker.drain.clone(),
        };
        let pools = &worker.tunnels;
        let (switched, mut denied) = (self.switched, None);
        let revoked = async {
            denied = Some(revoked(&worker.snapshots, |now| switched.revoked(now)).await);
        };
        let ends = tunnel::between(pools, self.down, self.up, options, revoked).await;
        switched.ended(&ends, denied.as_ref(), Instant::now());
    }
}
