//! What is known of a request becomes a line.
//!
//! What peers sent is escaped, so that a line is one line and a quoted value ends where its quotes do.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weft_config::access_log::{Compiled, GrpcStatusForm, Operator, Part, TlsField};
use weft_config::endpoint::Address;
use weft_config::flag::ResponseFlags;
use weft_config::grpc::GrpcStatus;
use weft_config::secret::SanKind;

use super::cluster::ClusterStats;
use crate::balance::EndpointState;
use crate::tls::TlsFacts;

/// A line is cut at this many bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// What is kept of a request or connection because an access log may want it.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) started: SystemTime,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) protocol: &'static str,
    pub(super) tls: Option<Arc<TlsFacts>>,
    /// Beside the names of [`Wanted::request`].
    pub(super) request: Vec<Option<Box<[u8]>>>,
    /// Beside the names of [`Wanted::response`].
    pub(super) response: Vec<Option<Box<[u8]>>>,
    /// Beside the names of [`Wanted::trailers`].
    pub(super) trailers: Vec<Option<Box<[u8]>>>,
    pub(super) route: Option<Arc<str>>,
    pub(super) endpoint: Option<Arc<EndpointState>>,
    pub(super) attempts: u32,
}

/// Header names that the formats of a scope want.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) request: Vec<String>,
    pub(super) response: Vec<String>,
    pub(super) trailers: Vec<String>,
}

impl Wanted {
    pub(super) fn add(&mut self, format: &Compiled) {
        let parts: Vec<&Part> = match format {
            Compiled::Text(parts) => parts.iter().collect(),
            Compiled::Json(fields) => fields.iter().flat_map(|(_, parts)| parts).collect(),
        };
        for part in parts {
            let (list, first, second) = match part {
                Part::Value {
                    operator: Operator::Request(a, b),
                    ..
                } => (&mut self.request, a, b),
                Part::Value {
                    operator: Operator::Response(a, b),
                    ..
                } => (&mut self.response, a, b),
                Part::Value {
                    operator: Operator::Trailer(a, b),
                    ..
                } => (&mut self.trailers, a, b),
                _ => continue,
            };
            for name in [Some(first), second.as_ref()].into_iter().flatten() {
                if !list.contains(name) {
                    list.push(name.clone());
                }
            }
        }
    }
}

/// Everything a line is made of.
pub(super) struct Ended<'a> {
    pub(super) captured: &'a Captured,
    pub(super) wanted: &'a Wanted,
    pub(super) cluster: Option<&'a ClusterStats>,
    pub(super) status: u16,
    /// How a gRPC call ended; `None` for whatever is none.
    pub(super) grpc: Option<GrpcStatus>,
    pub(super) flags: ResponseFlags,
    pub(super) details: &'a str,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) duration: Duration,
}

impl Ended<'_> {
    /// The line, with its line feed.
    pub(super) fn line(&self, format: &Compiled) -> Vec<u8> {
        let mut line = String::with_capacity(256);
        match format {
            Compiled::Text(parts) => {
                for part in parts {
                    self.part(part, &mut line);
                }
            }
            Compiled::Json(fields) => self.json(fields, &mut line),
        }
        if line.len() > LINE_BYTES_MAX {
            line.truncate(boundary(&line, LINE_BYTES_MAX));
        }
        if !line.ends_with('\n') {
            line.push('\n');
        }
        line.into_bytes()
    }

    fn json(&self, fields: &[(String, Vec<Part>)], line: &mut String) {
        let mut object = serde_json::Map::new();
        for (name, parts) in fields {
            let value = match parts.as_slice() {
                [
                    Part::Value {
                        operator,
                        bytes_max,
                    },
                ] => self.json_value(operator, *bytes_max),
                _ => {
                    let mut text = String::new();
                    for part in parts {
                        match part {
                            Part::Literal(literal) => text.push_str(literal),
                            Part::Value {
                                operator,
                                bytes_max,
                            } => text.push_str(&self.text(operator, *bytes_max)),
                        }
                    }
                    text.into()
                }
            };
            object.insert(name.clone(), value);
        }
        line.push_str(&serde_json::Value::Object(object).to_string());
    }

    fn json_value(&self, operator: &Operator, bytes_max: Option<usize>) -> serde_json::Value {
        match operator {
            Operator::ResponseCode => self.status.into(),
            Operator::BytesReceived => self.received.into(),
            Operator::BytesSent => self.sent.into(),
            Operator::Duration => millis(self.duration).into(),
            Operator::AttemptCount => self.captured.attempts.into(),
            Operator::LocalPort => self.captured.local.port().into(),
            Operator::GrpcStatus(GrpcStatusForm::Number) => {
                self.grpc.map(GrpcStatus::number).into()
            }
            _ => match self.text(operator, bytes_max) {
                absent if absent == "-" => serde_json::Value::Null,
                text => text.into(),
            },
        }
    }

    fn part(&self, part: &Part, line: &mut String) {
        match part {
            Part::Literal(literal) => line.push_str(literal),
            Part::Value {
                operator,
                bytes_max,
            } => escape(&self.text(operator, *bytes_max), line),
        }
    }

    fn text(&self, operator: &Operator, bytes_max: Option<usize>) -> String {
        let mut text = self
            .value(operator)
            .filter(|value| !value.is_empty())
            .unwrap_or_else(|| "-".into());
        if let Some(max) = bytes_max {
            text.truncate(boundary(&text, max));
        }
        text
    }

    fn value(&self, operator: &Operator) -> Option<String> {
        let captured = self.captured;
        let of = |names: &[String], values: &[Option<Box<[u8]>>], name: &str| {
            let at = names.iter().position(|known| known == name)?;
            let value = values.get(at)?.as_deref()?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let request = |name: &str| of(&self.wanted.request, &captured.request, name);
        let response = |name: &str| of(&self.wanted.response, &captured.response, name);
        let trailer = |name: &str| of(&self.wanted.trailers, &captured.trailers, name);
        Some(match operator {
            Operator::StartTime => return start_time(captured.started),
            Operator::Request(first, second) => {
                return request(first).or_else(|| second.as_deref().and_then(request));
            }
            Operator::Response(first, second) => {
                return response(first).or_else(|| second.as_deref().and_then(response));
            }
            Operator::Trailer(first, second) => {
                return trailer(first).or_else(|| second.as_deref().and_then(trailer));
            }
            Operator::GrpcStatus(form) => grpc_status(self.grpc?, *form),
            Operator::Protocol => captured.protocol.to_owned(),
            Operator::ResponseCode => self.status.to_string(),
            Operator::ResponseCodeDetails => self.details.to_owned(),
            Operator::ResponseFlags => self.flags.to_string(),
            Operator::ResponseFlagsLong => self
                .flags
                .iter()
                .map(|flag| flag.long_name())
                .collect::<Vec<_>>()
                .join(","),
            Operator::BytesReceived => self.received.to_string(),
            Operator::BytesSent => self.sent.to_string(),
            Operator::Duration => millis(self.duration).to_string(),
            Operator::UpstreamHost => match &captured.endpoint.as_ref()?.address {
                Address::Socket(address) => address.to_string(),
                Address::Pipe(path) => path.to_string(),
            },
            Operator::UpstreamCluster => self.cluster?.name.to_string(),
            Operator::AttemptCount => captured.attempts.to_string(),
            Operator::RemoteAddress { port: true } => captured.peer.to_string(),
            Operator::RemoteAddress { port: false } => captured.peer.ip().to_string(),
            Operator::LocalAddress { port: true } => captured.local.to_string(),
            Operator::LocalAddress { port: false } => captured.local.ip().to_string(),
            Operator::LocalPort => captured.local.port().to_string(),
            Operator::RouteName => captured.route.as_ref()?.to_string(),
            Operator::Tls(field) => return tls_field(captured.tls.as_ref()?, *field),
        })
    }
}

/// The last place at or before `max` where a character begins.
pub(super) fn boundary(text: &str, max: usize) -> usize {
    (0..=max.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

fn grpc_status(status: GrpcStatus, form: GrpcStatusForm) -> String {
    let name = match form {
        GrpcStatusForm::Camel => status.camel_name(),
        GrpcStatusForm::Snake => status.name(),
        GrpcStatusForm::Number => None,
    };
    name.map_or_else(|| status.number().to_string(), str::to_owned)
}

fn tls_field(tls: &TlsFacts, field: TlsField) -> Option<String> {
    let names = |kind: SanKind| {
        let peer = tls.peer.as_ref()?;
        let names = peer.names.iter().filter(|(of, _)| *of == kind);
        let names: Vec<&str> = names.map(|(_, name)| &**name).collect();
        Some(names.join(","))
    };
    let peer = || tls.peer.as_ref();
    match field {
        TlsField::Version => Some(tls.version.to_owned()),
        TlsField::Cipher => Some(tls.cipher_suite.to_string()),
        TlsField::ServerName => Some(tls.server_name.as_ref()?.to_string()),
        TlsField::PeerUri => names(SanKind::Uri),
        TlsField::PeerDns => names(SanKind::Dns),
        TlsField::PeerSubject => Some(peer()?.subject.to_string()),
        TlsField::PeerIssuer => Some(peer()?.issuer.to_string()),
        TlsField::PeerSerial => Some(peer()?.serial.to_string()),
        TlsField::PeerFingerprint => Some(peer()?.sha256.to_string()),
        TlsField::OwnUri => Some(tls.own_uri.as_ref()?.to_string()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn start_time(started: SystemTime) -> Option<String> {
    let timestamp = jiff::Timestamp::try_from(started).ok()?;
    Some(format!("{timestamp:.3}"))
}

/// Control characters, quotes and backslashes as `\xNN`, `\"`, `\\`.
fn escape(text: &str, line: &mut String) {
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            control if control.is_control() => {
                let _never_fails = write!(line, "\\x{:02x}", u32::from(control));
            }
            '\u{2028}' | '\u{2029}' => {
                let _never_fails = write!(line, "\\u{:04x}", u32::from(character));
            }
            other => line.push(other),
        }
    }
}
