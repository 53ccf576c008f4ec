//! Whether a condition holds. Of a header that stands several times one value will do, as Envoy judges since it was found that joined
//! values let pass what each of them would not. A fact that is missing meets none, and so neither lets in nor, denied, keeps out.

use std::net::IpAddr;

use super::{Asked, Condition, Peer};
use crate::route::{HeaderMatch, StringMatch, path_of};
use crate::secret::SanKind;

impl Condition {
    /// Whether it holds for what is asked.
    pub fn holds(&self, asked: &Asked<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(|it| it.holds(asked)),
            Self::Either(any) => any.iter().any(|it| it.holds(asked)),
            Self::Not(not) => !not.holds(asked),
            Self::Header(header) => header_holds(header, asked),
            Self::Path(path) => asked.path().is_some_and(|found| path.matches(found)),
            Self::DestinationIp(range) => range.contains(asked.destination.ip()),
            Self::DestinationPort(from, below) => {
                (*from..*below).contains(&asked.destination.port().into())
            }
            Self::ServerName(name) => name.matches(asked.server_name.as_bytes()),
            Self::Authenticated(name) => asked.peer.is_some_and(|peer| match name {
                Some(name) => peer.is_called(name),
                None => true,
            }),
            Self::SourceIp(range) => range.contains(canonical(asked.source)),
            Self::RemoteIp(range) => range.contains(canonical(asked.remote)),
            Self::Claim(claim) => claim.holds(asked.claims),
        }
    }
}

impl Condition {
    /// Whether it asks for a header anywhere.
    pub(super) fn asks_headers(&self) -> bool {
        match self {
            Self::Header(_) => true,
            Self::All(parts) | Self::Either(parts) => parts.iter().any(Self::asks_headers),
            Self::Not(part) => part.asks_headers(),
            _ => false,
        }
    }
}

impl<'a> Asked<'a> {
    /// The path without query and fragment; `None` where there is none, as on `CONNECT`.
    pub fn path(&self) -> Option<&'a [u8]> {
        let whole = self.head?.path_and_query();
        (!whole.is_empty()).then(|| path_of(whole))
    }
}

impl Peer<'_> {
    /// Whether one of its names will do: URIs, then host names, then the subject (Envoy's `principal_name`).
    fn is_called(&self, wanted: &StringMatch) -> bool {
        let of_kind = |kind: SanKind| {
            let mut names = self.names.iter().filter(move |(of, _)| *of == kind);
            names.any(|(_, name)| wanted.matches(name.as_bytes()))
        };
        of_kind(SanKind::Uri) || of_kind(SanKind::Dns) || wanted.matches(self.subject.as_bytes())
    }
}

/// A connection has no headers, which is what conditions on their absence hold for, as in Envoy.
fn header_holds(wanted: &HeaderMatch, asked: &Asked<'_>) -> bool {
    wanted.holds_for_any(|test| asked.head?.any_value(&wanted.name, test))
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
