//! Which filter chain takes a connection: the most specific that matches, criterion after criterion.

use std::net::IpAddr;

use weft_config::listener::{Cidr, FilterChainMatch, ServerNameMatch};

use super::views::{ChainView, ListenerView};
use crate::listener::ConnectionFacts;

impl ListenerView {
    /// The chain that takes a connection, or the default chain; `None`: it is refused.
    ///
    /// Envoy's order (`FilterChainMatch`): destination port, destination prefix, server name, transport protocol,
    /// application protocol, source prefix. At each step only the chains with the most specific match go on, and
    /// there is no way back to a less specific one.
    pub fn find_chain(&self, facts: &ConnectionFacts) -> Option<&ChainView> {
        let mut left: Vec<(&FilterChainMatch, &ChainView)> = self
            .config
            .filter_chains
            .iter()
            .map(|chain| &chain.matches)
            .zip(&self.chains)
            .collect();
        let destination = facts.destination();
        narrow(&mut left, |m| port(m, destination.port()));
        narrow(&mut left, |m| {
            prefix(&m.destination_prefixes, destination.ip())
        });
        narrow(&mut left, |m| server_name(m, facts.server_name()));
        narrow(&mut left, |m| transport(m, facts.transport_protocol()));
        left.retain(|(m, chain)| facts.hello.is_none() || is_for_tls(m, chain));
        narrow(&mut left, |m| application(m, facts));
        narrow(&mut left, |m| prefix(&m.source_prefixes, facts.peer.ip()));
        left.first()
            .map(|(_, chain)| *chain)
            .or(self.default_chain.as_ref())
    }
}

/// Keeps those that rank highest; those without a rank do not match.
fn narrow<'a>(
    left: &mut Vec<(&'a FilterChainMatch, &'a ChainView)>,
    rank: impl Fn(&FilterChainMatch) -> Option<u16>,
) {
    let best = left.iter().filter_map(|(m, _)| rank(m)).max();
    left.retain(|(m, _)| best.is_some() && rank(m) == best);
}

fn port(matches: &FilterChainMatch, port: u16) -> Option<u16> {
    match matches.destination_port {
        None => Some(0),
        Some(wanted) => (wanted == port).then_some(1),
    }
}

/// The length of the longest prefix that holds `ip`, plus one; 0 where any will do.
fn prefix(prefixes: &[Cidr], ip: IpAddr) -> Option<u16> {
    if prefixes.is_empty() {
        return Some(0);
    }
    prefixes
        .iter()
        .filter(|cidr| cidr.contains(ip))
        .map(|cidr| u16::from(cidr.length) + 1)
        .max()
}

fn transport(matches: &FilterChainMatch, found: &str) -> Option<u16> {
    match &*matches.transport_protocol {
        "" => Some(0),
        wanted => (wanted == found).then_some(1),
    }
}

/// The length of the longest name that fits; 0 where any will do.
fn server_name(matches: &FilterChainMatch, found: Option<&str>) -> Option<u16> {
    if matches.server_names.is_empty() {
        return Some(0);
    }
    let found = found?;
    let fits = |wanted: &&ServerNameMatch| wanted.matches(found);
    let lengths = matches
        .server_names
        .iter()
        .filter(fits)
        .map(ServerNameMatch::rank);
    lengths.max()
}

/// Whether a chain that names protocols means them inside of TLS: it says `tls`, or ends it.
fn is_for_tls(matches: &FilterChainMatch, chain: &ChainView) -> bool {
    matches.application_protocols.is_empty() || chain.tls.is_some() || matches.asks_hello()
}

fn application(matches: &FilterChainMatch, facts: &ConnectionFacts) -> Option<u16> {
    if matches.application_protocols.is_empty() {
        return Some(0);
    }
    let mut wanted = matches.application_protocols.iter();
    wanted.any(|wanted| facts.speaks(wanted)).then_some(1)
}

#[cfg(test)]
mod tests;
