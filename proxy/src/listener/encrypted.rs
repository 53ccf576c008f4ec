//! Downstream connections that are encrypted: the handshake, and what is spoken inside.

use std::future::poll_fn;

use tokio::time::{Instant, timeout};
use tracing::debug;
use weft_config::flag::ResponseFlag;
use weft_config::listener::DownstreamCodec;
use weft_config::tls::mesh_alpn;

use super::serve::Arrived;
use crate::detect::{Protocol, classify_http};
use crate::snapshot::{ChainKind, ChainView};
use crate::stream::Stream;
use crate::telemetry::ConnectionLog;
use crate::tls::{self, HandshakeError, ServerContext, TlsStream};

/// Makes the handshake of a connection; `None`: none came of it, which was counted and logged.
pub(super) async fn accept(
    chain: &ChainView,
    context: &ServerContext,
    mut arrived: Arrived,
) -> Option<Arrived> {
    let Stream::Plain(socket) = arrived.stream else {
        return None;
    };
    let begun = Instant::now();
    let first = std::mem::take(&mut arrived.seen.bytes);
    let hello = arrived.facts.hello.as_ref();
    let server_name = hello.and_then(|hello| hello.server_name.clone());
    let shaken = tls::accept(context, socket, first, server_name).await;
    let counts = &arrived.settings.stats.tls;
    let mut stream = match shaken {
        Ok(stream) => stream,
        Err(error) => {
            counts.count(error.word());
            refused(chain, &arrived.facts, &error, begun);
            return None;
        }
    };
    counts.count(stream.facts().result());
    arrived.facts.tls = Some(stream.facts().clone());
    arrived.facts.protocol = match &chain.kind {
        ChainKind::Tcp(_) => Some(Protocol::Opaque),
        ChainKind::Http(http) => {
            let codec = http.hcm.codec;
            let left = context.config.handshake_timeout;
            let found = timeout(left, inside(codec, &mut stream, &mut arrived.seen.bytes)).await;
            Some(found.unwrap_or(Protocol::Http1))
        }
    };
    arrived.stream = stream.into();
    Some(arrived)
}

/// Which HTTP is spoken: what is configured, what both sides agreed on, or what the first bytes say.
async fn inside(codec: DownstreamCodec, stream: &mut TlsStream, bytes: &mut Vec<u8>) -> Protocol {
    match (codec, stream.facts().alpn.as_deref()) {
        (DownstreamCodec::Http1, _) => return Protocol::Http1,
        (DownstreamCodec::Http2, _) | (_, Some("h2" | mesh_alpn::HTTP2)) => return Protocol::Http2,
        (_, Some("http/1.1" | "http/1.0")) => return Protocol::Http1,
        _ => {}
    }
    loop {
        if let Some(found) = (!bytes.is_empty()).then(|| classify_http(bytes)).flatten() {
            return found;
        }
        let read = poll_fn(|cx| stream.poll_open(cx, &mut |plain| bytes.extend_from_slice(plain)));
        // Its codec finds the end, or the failure, once more.
        if !matches!(read.await, Ok(1..)) {
            return Protocol::Http1;
        }
    }
}

fn refused(
    chain: &ChainView,
    facts: &super::ConnectionFacts,
    error: &HandshakeError,
    begun: Instant,
) {
    debug!(peer = %facts.peer, reason = error.word(), %error, "TLS handshake failed");
    let mut log = ConnectionLog::begin(chain.scope(), facts.peer, facts.destination(), None, begun);
    log.flag(ResponseFlag::DPE);
    log.details(format!("tls {}: {error}", error.word()));
    log.finish(Instant::now());
}
