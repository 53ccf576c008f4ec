//! Connections to the control plane: gRPC over HTTP/2, in plain or over TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;
use weft_config::causes::with_causes;

use crate::stream::Plain;
use crate::tls::{self, ClientContext, Inside, TlsStream};

/// Bound on opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Silence after which a ping is sent, and how long its answer may take: a frozen server is left within their sum.
const PING_AFTER: Duration = Duration::from_secs(4);
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// Opens a connection, over TLS where there is a context.
///
/// # Errors
/// Why there is none, in words.
pub(crate) async fn open(
    address: SocketAddr,
    tls: Option<&Arc<ClientContext>>,
) -> Result<Channel, String> {
    let endpoint = endpoint(address).map_err(|error| with_causes(&error))?;
    let opened = match tls {
        None => endpoint.connect().await,
        Some(context) => {
            let context = context.clone();
            let connector = service_fn(move |_: Uri| encrypted(address, context.clone()));
            endpoint.connect_with_connector(connector).await
        }
    };
    opened.map_err(|error| format!("connecting to {address}: {}", with_causes(&error)))
}

fn endpoint(address: SocketAddr) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 20);
    Ok(endpoint)
}

async fn encrypted(
    address: SocketAddr,
    context: Arc<ClientContext>,
) -> io::Result<TokioIo<TlsStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let ip = Some(address.ip());
    let shaken = tls::connect(
        &context,
        Plain::Tcp(socket),
        ip,
        Inside::Http2,
        CONNECT_TIMEOUT,
    );
    shaken.await.map(TokioIo::new).map_err(io::Error::other)
}
