//! Answers that the proxy makes itself.
//!
//! Each says `server: weft`, its response flag in `x-weft-response-flag`, and in a line for people what happened. A gRPC
//! request hears the same in its own terms: `grpc-status` and `grpc-message` on a 200.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use weft_config::flag::ResponseFlag;
use weft_config::grpc::GrpcStatus;

use crate::http::head::{Head, Known};

/// The field that names the response flag of an answer made here.
pub const FLAG_HEADER: &str = "x-weft-response-flag";

/// An answer that the proxy makes itself.
#[derive(Debug)]
pub(crate) struct LocalReply {
    pub(super) status: u16,
    pub(super) flag: Option<ResponseFlag>,
    /// What happened, for people and logs: lower case, no full stop.
    pub(super) reason: Cow<'static, str>,
    pub(super) fields: SmallVec<[(&'static str, String); 1]>,
    pub(super) body: Body,
    pub(super) grpc_status: Option<GrpcStatus>,
    /// The connection cannot go on after this answer.
    pub(super) close: bool,
}

/// What an answer made here says.
#[derive(Debug)]
pub(crate) enum Body {
    /// The reason.
    Reason,
    /// Nothing.
    Empty,
    /// What the route says.
    Text(Arc<str>),
}

impl LocalReply {
    pub(super) fn new(
        status: u16,
        flag: ResponseFlag,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            flag: Some(flag),
            reason: reason.into(),
            fields: SmallVec::new(),
            body: Body::Reason,
            grpc_status: None,
            close: false,
        }
    }

    /// An answer that a route asks for.
    pub(super) fn configured(status: u16, body: Body, reason: &'static str) -> Self {
        Self {
            flag: None,
            body,
            ..Self::new(status, ResponseFlag::NR, reason)
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.fields.push((name, value));
        self
    }

    pub(super) fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_millis().div_ceil(1000).max(1);
        self.with("retry-after", seconds.to_string())
    }

    pub(super) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Writes the answer into an empty head and gives its body.
    pub(super) fn write(&self, head: &mut Head, server: &str, grpc: bool) -> Vec<u8> {
        let body = if grpc { Vec::new() } else { self.body_bytes() };
        head.start_response(if grpc { 200 } else { self.status });
        if grpc {
            head.add_known(Known::ContentType, b"application/grpc");
            self.write_status(head);
        } else if !body.is_empty() {
            head.add_known(Known::ContentType, b"text/plain; charset=utf-8");
        }
        head.add_known(Known::ContentLength, body.len().to_string().as_bytes());
        head.add_known(Known::Server, server.as_bytes());
        if let Some(flag) = self.flag {
            head.add(FLAG_HEADER.as_bytes(), flag.letters().as_bytes());
        }
        for (name, value) in &self.fields {
            head.add(name.as_bytes(), value.as_bytes());
        }
        body
    }

    /// Writes what a call hears, into a head or into trailers.
    pub(super) fn write_status(&self, fields: &mut Head) {
        let status = self.grpc_status.unwrap_or_else(|| self.mapped_status());
        fields.add_known(Known::GrpcStatus, status.number().to_string().as_bytes());
        let message = match &self.body {
            Body::Text(text) if !text.is_empty() => text,
            _ => self.reason.as_ref(),
        };
        fields.add_known(Known::GrpcMessage, percent_encoded(message).as_bytes());
    }

    /// What a call hears where nothing else is said: that its time is over, or what gRPC makes of the HTTP status.
    ///
    /// gRPC's table takes a 504 for `UNAVAILABLE`, which says that the call may be made again at once, for it does not know
    /// what the 504 of a stranger means. Here it is known: a deadline has passed, the caller's or the route's.
    fn mapped_status(&self) -> GrpcStatus {
        match self.flag {
            Some(ResponseFlag::UT | ResponseFlag::UMSDR | ResponseFlag::SI | ResponseFlag::DT) => {
                GrpcStatus::DEADLINE_EXCEEDED
            }
            // As servers of gRPC say it of metadata that they do not take.
            _ if self.status == 431 => GrpcStatus::RESOURCE_EXHAUSTED,
            _ => GrpcStatus::of_http(self.status),
        }
    }

    fn body_bytes(&self) -> Vec<u8> {
        match (&self.body, self.flag) {
            (Body::Empty, _) => Vec::new(),
            (Body::Text(text), _) => text.as_bytes().to_vec(),
            (Body::Reason, Some(flag)) => format!("weft: {flag}: {}\n", self.reason).into_bytes(),
            (Body::Reason, None) => format!("weft: {}\n", self.reason).into_bytes(),
        }
    }
}

/// Bytes of a message that are told: callers take 8 KiB of fields in all.
const MESSAGE_BYTES_MAX: usize = 1024;

/// `grpc-message` is percent-encoded: everything but printable ASCII, and the percent sign itself.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len().min(MESSAGE_BYTES_MAX));
    let end = (0..=MESSAGE_BYTES_MAX.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    for byte in text.get(..end).unwrap_or_default().bytes() {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(char::from(byte)),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_flag_and_reason() {
        let mut head = Head::new();
        let reply = LocalReply::new(503, ResponseFlag::UH, "no endpoint");
        let body = reply.write(&mut head, "weft", false);
        assert_eq!(body, b"weft: UH: no endpoint\n");
        assert_eq!(head.status(), 503);
        assert_eq!(head.get_name(b"server"), Some(&b"weft"[..]));
        assert_eq!(head.get_name(b"x-weft-response-flag"), Some(&b"UH"[..]));
        assert_eq!(head.get_name(b"content-length"), Some(&b"22"[..]));
    }

    #[test]
    fn a_grpc_caller_hears_it_in_its_own_terms() {
        let mut head = Head::new();
        let reply = LocalReply::new(503, ResponseFlag::UH, "100 % of endpoints\tgone");
        assert!(reply.write(&mut head, "weft", true).is_empty());
        assert_eq!(head.status(), 200);
        assert_eq!(head.get_name(b"grpc-status"), Some(&b"14"[..]));
        assert_eq!(
            head.get_name(b"grpc-message"),
            Some(&b"100 %25 of endpoints%09gone"[..])
        );
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut head = Head::new();
        let text = format!("a{}", "é".repeat(2000));
        LocalReply::new(503, ResponseFlag::UH, text).write(&mut head, "weft", true);
        let message = head.get_name(b"grpc-message").unwrap();
        assert_eq!(message, format!("a{}", "%C3%A9".repeat(511)).as_bytes());
    }

    #[test]
    fn a_pause_is_told_in_whole_seconds_rounded_up() {
        let reply = LocalReply::new(429, ResponseFlag::RL, "slow down")
            .retry_after(Duration::from_millis(1001));
        assert_eq!(reply.fields.as_slice(), [("retry-after", "2".to_owned())]);
    }
}
