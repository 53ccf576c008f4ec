//! Connections that this proxy has opened itself, to know them when they come back.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::stream::Stream;

/// The connections of one cluster to wherever their downstreams wanted to go.
///
/// Where redirection does not spare the proxy, each of them is captured again: what comes from an address and port that we have bound,
/// to where we are connected from there, is our own.
#[derive(Debug, Default)]
pub struct OwnCalls(Mutex<HashSet<Call>>);

/// Both ends of a connection: ours, and the other.
type Call = (SocketAddr, SocketAddr);

impl OwnCalls {
    /// Whether a connection from `peer` to `destination` is one of ours.
    pub fn has(&self, peer: SocketAddr, destination: SocketAddr) -> bool {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.contains(&(peer, destination))
    }

    /// Notes a connection that was opened, until the guard is dropped. There are as many as connections.
    pub fn note(self: &Arc<Self>, stream: &Stream) -> Option<OwnCall> {
        let (local, peer) = stream.addresses()?;
        let call = (local, peer);
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.insert(call).then(|| OwnCall {
            calls: self.clone(),
            call,
        })
    }
}

/// A connection of ours while it is open.
#[derive(Debug)]
pub struct OwnCall {
    calls: Arc<OwnCalls>,
    call: Call,
}

impl Drop for OwnCall {
    fn drop(&mut self) {
        let mut calls = self.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.remove(&self.call);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::stream::Plain;

    #[tokio::test]
    async fn a_call_is_known_while_it_is_open_and_from_its_own_port_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let stream = TcpStream::connect(there).await.unwrap();
        let here = stream.local_addr().unwrap();
        let calls = Arc::new(OwnCalls::default());
        assert!(!calls.has(here, there));
        let call = calls.note(&Stream::Plain(Plain::Tcp(stream)));
        assert!(calls.has(here, there));
        assert!(!calls.has(there, here));
        let other = SocketAddr::new(here.ip(), here.port().wrapping_add(1));
        assert!(!calls.has(other, there));
        drop(call);
        assert!(!calls.has(here, there));
    }
}
