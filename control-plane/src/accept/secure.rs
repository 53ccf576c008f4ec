//! Connections with TLS.

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::accept;
use super::seats::{Connection, Peer, Seats};
use crate::identity::{AUDIT, Gate, Limiter};

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A socket whose connections are taken once their handshakes are done, each at its own pace.
pub(crate) struct SecureListener {
    socket: TcpListener,
    seats: Arc<Seats>,
    gate: Arc<Gate>,
    /// Of what is said of those who are refused.
    limiter: Arc<Limiter>,
    /// As many as there are seats, at most.
    handshakes: JoinSet<Option<SecureConnection>>,
}

impl SecureListener {
    pub(crate) fn new(socket: TcpListener, seats: Arc<Seats>, gate: Arc<Gate>) -> Self {
        Self {
            socket,
            seats,
            gate,
            limiter: Arc::default(),
            handshakes: JoinSet::new(),
        }
    }

    /// The next connection whose handshake is done.
    pub(crate) async fn next(&mut self) -> SecureConnection {
        loop {
            tokio::select! {
                stream = accept(&self.socket) => {
                    if let Some(connection) = self.seats.admit(stream).await {
                        let (gate, limiter) = (Arc::clone(&self.gate), Arc::clone(&self.limiter));
                        self.handshakes.spawn(handshake(connection, gate, limiter));
                    }
                }
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
            }
        }
    }
}

/// `None`: there is no agreement, or it is nobody of this mesh.
async fn handshake(
    connection: Connection,
    gate: Arc<Gate>,
    limiter: Arc<Limiter>,
) -> Option<SecureConnection> {
    let peer = connection.connect_info();
    let acceptor = TlsAcceptor::from(gate.config());
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(connection)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            refused(&peer, is_about_certificate(&error), &error, &limiter);
            return None;
        }
        Err(_) => {
            tracing::debug!(?peer, "TLS handshake not done within {HANDSHAKE_TIMEOUT:?}");
            return None;
        }
    };
    match gate.shown(stream.get_ref().1.peer_certificates()) {
        Ok(shown) => Some(SecureConnection {
            peer: peer.has_shown(shown),
            stream: Box::new(stream),
        }),
        Err(why) => {
            refused(&peer, true, &why, &limiter);
            None
        }
    }
}

/// Who shows a certificate that does not hold is audited; what else comes to a port is nobody's doing in particular.
fn refused(peer: &Peer, audited: bool, why: &dyn Display, limiter: &Limiter) {
    let address = peer.caller().address.map(|it| it.to_string());
    let peer = address.unwrap_or_default();
    match audited && limiter.may_say() {
        true => tracing::warn!(target: AUDIT, peer, reason = %why, "connection refused"),
        false => tracing::debug!(peer, %why, "connection refused"),
    }
}

fn is_about_certificate(error: &io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|it| it.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// A connection with TLS.
pub(crate) struct SecureConnection {
    stream: Box<TlsStream<Connection>>,
    peer: Peer,
}

impl Connected for SecureConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for SecureConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SecureConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
