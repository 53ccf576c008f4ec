//! What a request's authority is called on the wire: `host:port`, lower case.

use std::net::Ipv6Addr;

/// Host names are not longer (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// The name to ask for when a request says `authority`: the host in lower case without a trailing dot, a colon, the
/// port (80 where none is given). Written to `buffer`, which is emptied first.
///
/// `None` where `authority` is no host with or without a port.
pub fn authority_name<'b>(authority: &[u8], buffer: &'b mut String) -> Option<&'b str> {
    let authority = std::str::from_utf8(authority).ok()?;
    let (host, port) = split(authority)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.len() > HOST_BYTES_MAX || !is_host(host) {
        return None;
    }
    buffer.clear();
    buffer.push_str(host);
    buffer.make_ascii_lowercase();
    buffer.push(':');
    buffer.push_str(port);
    Some(buffer)
}

/// Host, in brackets for IPv6, and port.
fn split(authority: &str) -> Option<(&str, &str)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        let host = authority.get(..address.len() + 2)?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, checked(port)?)),
            None => after.is_empty().then_some((host, "80")),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, checked(port)?)),
        None => Some((authority, "80")),
    }
}

fn checked(port: &str) -> Option<&str> {
    let digits = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
    (digits && port.parse::<u16>().is_ok()).then_some(port)
}

/// Labels with dots between them; what stands in brackets was an IPv6 address when it was split off.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !label.is_empty() && label.bytes().all(fits)
    };
    host.starts_with('[') || host.split('.').all(is_label)
}

#[cfg(test)]
mod tests;
