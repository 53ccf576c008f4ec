//! Connections to servers of xDS: gRPC over HTTP/2, in plain or over TLS, on TCP or a Unix socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;
use weft_config::causes::with_causes;
use weft_config::endpoint::Address;

use crate::endpoint::{self, Dial};
use crate::stream::{Plain, Stream};
use crate::tls::{self, ClientContext, Inside};

/// Bound on opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Silence after which a ping is sent, and how long its answer may take: a frozen server is left within their sum.
const PING_AFTER: Duration = Duration::from_secs(4);
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// A way to a server.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) address: Address,
    /// How its cluster has it dialled; `None`: it is of no cluster.
    pub(crate) dial: Option<Dial>,
}

impl Way {
    /// Where it leads, in words.
    pub(crate) fn place(&self) -> String {
        match &self.address {
            Address::Socket(address) => address.to_string(),
            Address::Pipe(path) => path.to_string(),
        }
    }
}

/// Opens a connection, as its cluster says; where it has none, over TLS if there is a context.
///
/// # Errors
/// Why there is none, in words.
pub(crate) async fn open(way: &Way, tls: Option<&Arc<ClientContext>>) -> Result<Channel, String> {
    let endpoint = endpoint(way).map_err(|error| with_causes(&error))?;
    let (way_there, tls) = (way.clone(), tls.cloned());
    let connector = service_fn(move |_: Uri| connected(way_there.clone(), tls.clone()));
    let opened = endpoint.connect_with_connector(connector).await;
    opened.map_err(|error| format!("connecting to {}: {}", way.place(), with_causes(&error)))
}

fn endpoint(way: &Way) -> Result<Endpoint, tonic::transport::Error> {
    let uri = match &way.address {
        Address::Socket(address) => format!("http://{address}"),
        Address::Pipe(_) => "http://localhost".to_owned(),
    };
    let timeout = match &way.dial {
        Some(dial) => dial.timeout,
        None => CONNECT_TIMEOUT,
    };
    let endpoint = Endpoint::from_shared(uri)?
        .connect_timeout(timeout)
        .http2_keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 20);
    Ok(endpoint)
}

async fn connected(way: Way, tls: Option<Arc<ClientContext>>) -> io::Result<TokioIo<Box<Stream>>> {
    let stream = match (&way.dial, &way.address) {
        (Some(dial), address) => {
            let opened = endpoint::connect(address, dial).await;
            opened.map_err(io::Error::other)?
        }
        (None, Address::Socket(address)) => direct(*address, tls).await?,
        (None, Address::Pipe(path)) => Stream::Plain(Plain::connect_unix(path).await?),
    };
    Ok(TokioIo::new(Box::new(stream)))
}

async fn direct(address: SocketAddr, tls: Option<Arc<ClientContext>>) -> io::Result<Stream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let Some(context) = tls else {
        return Ok(socket.into());
    };
    let ip = Some(address.ip());
    let socket = Plain::Tcp(socket);
    let shaken = tls::connect(&context, socket, ip, Inside::Http2, CONNECT_TIMEOUT);
    shaken.await.map(Stream::from).map_err(io::Error::other)
}
