//! Where an accepted connection was meant to go, and what else is known of it at once.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;
use weft_config::listener::Direction;

use super::bound::{Bound, Settings};
use super::facts::ConnectionFacts;
use crate::endpoint::Beside;

/// What is known of a connection before anything on it is looked at.
pub(super) fn facts(
    stream: &TcpStream,
    peer: SocketAddr,
    settings: &Settings,
    bound: &Bound,
) -> io::Result<ConnectionFacts> {
    // Bound to one address, every connection has it; only a wildcard's must be asked, and what TPROXY brings.
    let local = match bound.address {
        address if !address.ip().is_unspecified() && !settings.transparent => address,
        _ => canonical(stream.local_addr()?),
    };
    // What TPROXY brings is addressed to where it was meant to go; all else was translated, or meant us.
    let original_dst = if settings.transparent && local.port() != bound.address.port() {
        Some(local)
    } else if settings.use_original_dst {
        original_dst(stream, local)
    } else {
        None
    };
    Ok(ConnectionFacts {
        listener: settings.name.clone(),
        peer: canonical(peer),
        local,
        original_dst,
        beside: beside(settings, canonical(peer), original_dst.unwrap_or(local)),
        direction: settings.direction,
        protocol: None,
        hello: None,
        tls: None,
    })
}

/// Whether a connection was on its way to the application, as far as its ports are known: a chain for its only port asks for none.
pub(super) fn is_for_application(settings: &Settings, facts: &ConnectionFacts) -> bool {
    let ports = &settings.application_ports;
    let meant = facts.original_dst.map(|destination| destination.port());
    ports.is_empty() || meant.is_none_or(|port| ports.contains(&port))
}

/// What the way to the application beside us depends on for a connection from `peer` that reached this workload at `reached`.
fn beside(settings: &Settings, peer: SocketAddr, reached: SocketAddr) -> Option<Beside> {
    let (peer, reached) = (peer.ip(), reached.ip());
    // Whoever calls from this machine has an address that others may bind already.
    let keeps = settings.original_src && !peer.is_loopback() && peer != reached;
    let client = keeps.then_some(peer);
    let over_ipv6 = settings.direction == Direction::Inbound && reached.is_ipv6();
    (client.is_some() || over_ipv6).then_some(Beside { reached, client })
}

/// `SO_ORIGINAL_DST`; `None` where the connection came to us directly.
fn original_dst(stream: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    // A dual-stack socket's IPv4 connections are tracked as IPv4.
    let told = if local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    let meant = canonical(told.ok()?.as_socket()?);
    (meant != local).then_some(meant)
}

/// IPv4 as IPv4, also when it came through an IPv6 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(v6.ip().to_canonical(), v6.port())
        }
        other => other,
    }
}
