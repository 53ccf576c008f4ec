//! Where the control plane is, as the command line says it.

use std::net::IpAddr;

/// Where the control plane is, and how it is spoken to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ControlPlane {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Reads `https://HOST:PORT`, or `http://`; port 15012 or 15010 where none is given.
pub(super) fn control_plane(url: &str) -> Result<ControlPlane, String> {
    const FORM: &str = "must be https://HOST:PORT or http://HOST:PORT";
    let wrong = |rule: &str| format!("--control-plane: {rule}, got {url:?}");
    let (tls, usual_port, rest) = match url.split_once("://") {
        Some(("https", rest)) => (true, 15_012, rest),
        Some(("http", rest)) => (false, 15_010, rest),
        _ => return Err(wrong(FORM)),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon may be inside of an IPv6 address.
        Some((host, port)) if !port.contains(']') => {
            let port = port.parse().ok().filter(|port| *port > 0);
            (
                host,
                port.ok_or_else(|| wrong("the port must be from 1 to 65535"))?,
            )
        }
        _ => (authority, usual_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(['/', '@', '?', '#']) {
        return Err(wrong(FORM));
    }
    Ok(ControlPlane {
        tls,
        host: host.to_owned(),
        port,
    })
}

/// Whether a host is this very machine.
pub(super) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}
