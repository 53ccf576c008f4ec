//! Handshakes, of either side, within a deadline.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::context::{ClientContext, Inside, ServerContext};
use super::error::{HandshakeError, Refusal};
use super::peer::TlsFacts;
use super::session::Session;
use super::stream::TlsStream;
use crate::clock::unix_now;
use crate::stream::Plain;

/// Bytes that are read at once.
const READ_BYTES: usize = 4096;

/// Bytes of one side's handshake that have not been taken: more than the longest message that rustls takes.
const UNREAD_BYTES_MAX: usize = 128 * 1024;

/// Accepts a connection of which `first` was read before. `server_name` is what its ClientHello asks for.
///
/// # Errors
/// Any that ends a handshake; what the peer did wrong it has been told by an alert.
pub async fn accept(
    context: &ServerContext,
    socket: Plain,
    first: Vec<u8>,
    server_name: Option<Arc<str>>,
) -> Result<TlsStream, HandshakeError> {
    let session = Session::server(context.current()?)?;
    let limit = context.config.handshake_timeout;
    let own_uri = context.uri();
    let named = Named {
        server_name,
        own_uri,
    };
    let stream = within(limit, shake(session, socket, first, named)).await?;
    match has_expired_since(stream.facts()) {
        true => Err(HandshakeError::Refused(Refusal::Expired)),
        false => Ok(stream),
    }
}

/// Makes an encrypted connection of `socket`, which goes to `address`, within `limit`.
///
/// # Errors
/// Any that ends a handshake; what the peer did wrong it has been told by an alert.
pub async fn connect(
    context: &ClientContext,
    socket: Plain,
    address: Option<IpAddr>,
    inside: Inside,
    limit: Duration,
) -> Result<TlsStream, HandshakeError> {
    // The address only tells rustls which server it is, for resumption; a socket file is the machine itself.
    let name = context.server_name(address.unwrap_or(Ipv4Addr::LOCALHOST.into()));
    let session = Session::client(context.current(inside)?, name)?;
    let named = Named {
        server_name: context.config.server_name.clone(),
        own_uri: None,
    };
    let stream = within(limit, shake(session, socket, Vec::new(), named)).await?;
    if has_expired_since(stream.facts()) {
        // The peer may have another one by now, which a whole handshake shows.
        context.forget_sessions();
        return Err(HandshakeError::Stale);
    }
    Ok(stream)
}

/// What is known without the handshake.
struct Named {
    server_name: Option<Arc<str>>,
    own_uri: Option<Arc<str>>,
}

async fn within(
    limit: Duration,
    handshake: impl Future<Output = Result<TlsStream, HandshakeError>>,
) -> Result<TlsStream, HandshakeError> {
    // Boxed: whoever waits for a handshake carries its state only while there is one.
    match timeout(limit, Box::pin(handshake)).await {
        Ok(done) => done,
        Err(_) => Err(HandshakeError::Timeout(limit)),
    }
}

async fn shake(
    mut session: Session,
    mut socket: Plain,
    mut unread: Vec<u8>,
    named: Named,
) -> Result<TlsStream, HandshakeError> {
    let (mut out, mut early) = (Vec::new(), Vec::new());
    loop {
        let opened = session.open(&mut unread, &mut out, &mut |plain| {
            early.extend_from_slice(plain);
        });
        let sent = match out.is_empty() {
            true => Ok(()),
            false => socket.write_all(&out).await,
        };
        out.clear();
        // What the peer did wrong says more than that it did not wait for the alert.
        let opened = opened?;
        sent?;
        unread.drain(..opened.used);
        if !session.is_handshaking() {
            let mut facts = session.facts(named.server_name);
            facts.own_uri = named.own_uri;
            return Ok(TlsStream::new(
                socket,
                session,
                facts,
                unread,
                early,
                opened.ended,
            ));
        }
        if opened.ended || unread.len() > UNREAD_BYTES_MAX {
            return Err(HandshakeError::Closed);
        }
        read_more(&mut socket, &mut unread).await?;
    }
}

async fn read_more(socket: &mut Plain, unread: &mut Vec<u8>) -> Result<(), HandshakeError> {
    unread.reserve(READ_BYTES);
    match socket.read_buf(unread).await {
        Ok(0) => Err(HandshakeError::Closed),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(HandshakeError::Closed),
        Err(error) => Err(error.into()),
    }
}

/// A resumed session is not judged again by rustls; its peer's certificate may have expired since it began.
fn has_expired_since(facts: &TlsFacts) -> bool {
    let peer = facts.peer.as_ref().filter(|_| facts.resumed);
    peer.is_some_and(|peer| unix_now() > peer.not_after)
}
