//! Connections to endpoints: opening them. The engine pools them.

mod beside;
mod own_calls;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive as SocketKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use weft_config::cluster::TcpKeepalive;
use weft_config::endpoint::Address;

pub use self::own_calls::{OwnCall, OwnCalls};
use crate::stream::{Plain, Stream};
use crate::telemetry::ClusterStats;
use crate::tls::{self, ClientContext, HandshakeError, Inside};

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It took too long.
    #[error("connecting to {address} took longer than {limit:?}")]
    Timeout {
        /// The endpoint.
        address: String,
        /// The bound.
        limit: Duration,
    },
    /// It was refused, or there is no way there.
    #[error("connecting to {address}: {source}")]
    Io {
        /// The endpoint.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// It was opened, and whoever is there cannot be spoken to over TLS.
    #[error("{address}: {source}")]
    Tls {
        /// The endpoint.
        address: String,
        /// Why.
        source: HandshakeError,
    },
}

/// What is said of a connection that this proxy has opened itself.
pub const OWN_CALL: &str = "loop: this proxy called itself; is its user spared by redirection (weft-proxy redirect install --proxy-uid)?";

/// What the way to an application beside the proxy depends on: how its client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Beside {
    /// The address of this workload that the client called.
    pub reached: IpAddr,
    /// The client's own, where the application is to see it.
    pub client: Option<IpAddr>,
}

/// How a connection to an endpoint is opened.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Bound on all of it, the TLS handshake included.
    pub timeout: Duration,
    /// TCP keepalive.
    pub keepalive: Option<TcpKeepalive>,
    /// TLS, where it is spoken.
    pub tls: Option<Arc<ClientContext>>,
    /// What is spoken inside of TLS.
    pub inside: Inside,
    /// What the way to an application beside us depends on.
    pub beside: Option<Beside>,
    /// Where connections to whatever was dialled are noted, so that one that comes back is known.
    pub own_calls: Option<Arc<OwnCalls>>,
    /// Where handshakes are counted.
    pub stats: Arc<ClusterStats>,
}

/// Opens a connection. `TCP_NODELAY` is set, once and for all.
///
/// # Errors
/// When it is refused, unreachable, takes too long, or no TLS connection comes of it.
pub async fn connect(address: &Address, dial: &Dial) -> Result<Stream, ConnectError> {
    let until = Instant::now() + dial.timeout;
    match connect_once(address, dial, until).await {
        Err(ConnectError::Tls {
            source: HandshakeError::Stale,
            ..
        }) => connect_once(address, dial, until).await,
        done => done,
    }
}

async fn connect_once(
    address: &Address,
    dial: &Dial,
    until: Instant,
) -> Result<Stream, ConnectError> {
    let limit = dial.timeout;
    let opened = timeout_at(until, open(address, dial.keepalive, dial.beside)).await;
    let socket = match opened {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(source)) => Err(ConnectError::Io {
            address: written(address),
            source,
        }),
        Err(_) => Err(ConnectError::Timeout {
            address: written(address),
            limit,
        }),
    }?;
    let Some(context) = &dial.tls else {
        return Ok(Stream::Plain(socket));
    };
    let ip = match address {
        Address::Socket(address) => Some(address.ip()),
        Address::Pipe(_) => None,
    };
    let left = until.saturating_duration_since(Instant::now());
    let shaken = tls::connect(context, socket, ip, dial.inside, left).await;
    dial.stats.tls.count(match &shaken {
        Ok(stream) => stream.facts().result(),
        Err(error) => error.word(),
    });
    match shaken {
        Ok(stream) => Ok(stream.into()),
        Err(HandshakeError::Timeout(_)) => Err(ConnectError::Timeout {
            address: written(address),
            limit,
        }),
        Err(source) => Err(ConnectError::Tls {
            address: written(address),
            source,
        }),
    }
}

async fn open(
    address: &Address,
    keepalive: Option<TcpKeepalive>,
    beside: Option<Beside>,
) -> io::Result<Plain> {
    match address {
        Address::Socket(address) => {
            let stream = match beside {
                None => TcpStream::connect(address).await?,
                Some(beside) => beside::connect(beside, *address).await?,
            };
            stream.set_nodelay(true)?;
            if let Some(keepalive) = keepalive {
                SockRef::from(&stream).set_tcp_keepalive(
                    &SocketKeepalive::new()
                        .with_time(keepalive.time)
                        .with_interval(keepalive.interval)
                        .with_retries(keepalive.probes),
                )?;
            }
            Ok(Plain::Tcp(stream))
        }
        Address::Pipe(path) => Plain::connect_unix(path).await,
    }
}

fn written(address: &Address) -> String {
    match address {
        Address::Socket(address) => address.to_string(),
        Address::Pipe(path) => path.to_string(),
    }
}
