//! Upgraded connections: both sockets leave the engine and become a tunnel.

use std::rc::Rc;

use tokio::time::Instant;

use super::{State, Worker};
use crate::endpoint::Stream;
use crate::http::engine::{ConnId, Switched};
use crate::tunnel::{self, Close, Ends, TunnelOptions};

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
        let ends = match (self.down, self.up) {
            (Stream::Tcp(down), Stream::Tcp(up)) => {
                tunnel::run(&worker.tunnels, down, up, options).await
            }
            (down, up) => copy(down, up, options).await,
        };
        self.switched.ended(&ends, Instant::now());
    }
}

/// Without splice, for Unix domain sockets.
async fn copy(down: Stream, up: Stream, options: TunnelOptions) -> Ends {
    let mut ends = Ends {
        to_upstream: 0,
        to_downstream: 0,
        close: Close::UpstreamReset,
    };
    let (Stream::Tcp(mut down), Stream::Unix(mut up)) = (down, up) else {
        return ends;
    };
    use tokio::io::AsyncWriteExt;
    let preread = options.preread;
    let first = async {
        up.write_all(&preread.from_downstream).await?;
        down.write_all(&preread.from_upstream).await
    };
    if first.await.is_err() {
        return ends;
    }
    if let Ok((there, back)) = tokio::io::copy_bidirectional(&mut down, &mut up).await {
        ends.to_upstream = there + preread.from_downstream.len() as u64;
        ends.to_downstream = back + preread.from_upstream.len() as u64;
        ends.close = Close::Orderly;
    }
    ends
}
