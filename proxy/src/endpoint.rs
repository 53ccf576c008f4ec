//! Connections to endpoints: opening them. The engine pools them.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive as SocketKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use weft_config::cluster::TcpKeepalive;
use weft_config::endpoint::Address;

/// A connection to an endpoint.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
}

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
}

/// Opens a connection within `limit`. `TCP_NODELAY` is set, once and for all.
///
/// # Errors
/// When it is refused, unreachable, or takes longer than `limit`.
pub async fn connect(
    address: &Address,
    limit: Duration,
    keepalive: Option<TcpKeepalive>,
) -> Result<Stream, ConnectError> {
    let opened = timeout(limit, open(address, keepalive)).await;
    match opened {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(ConnectError::Io {
            address: written(address),
            source,
        }),
        Err(_) => Err(ConnectError::Timeout {
            address: written(address),
            limit,
        }),
    }
}

async fn open(address: &Address, keepalive: Option<TcpKeepalive>) -> io::Result<Stream> {
    match address {
        Address::Socket(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            if let Some(keepalive) = keepalive {
                SockRef::from(&stream).set_tcp_keepalive(
                    &SocketKeepalive::new()
                        .with_time(keepalive.time)
                        .with_interval(keepalive.interval)
                        .with_retries(keepalive.probes),
                )?;
            }
            Ok(Stream::Tcp(stream))
        }
        Address::Pipe(path) => UnixStream::connect(&**path).await.map(Stream::Unix),
    }
}

fn written(address: &Address) -> String {
    match address {
        Address::Socket(address) => address.to_string(),
        Address::Pipe(path) => path.to_string(),
    }
}
