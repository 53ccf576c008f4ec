//! What is known of one request or connection, and its end: counted once, logged once.

mod connection;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use weft_config::access_log::{Compiled, FormatError, compile};
use weft_config::flag::{ResponseFlag, ResponseFlags};
use weft_config::grpc::GrpcStatus;
use weft_config::listener::{AccessLog, Direction};
use weft_config::policy::authn::is_parameter;
use weft_config::route::RequestHead;

pub use connection::ConnectionLog;

use super::cluster::{ClusterStats, RequestCounts};
use super::counter::GaugeGuard;
use super::files::LogFile;
use super::limits::{Limit, LimitStats};
use super::listener::ListenerStats;
use super::metrics::Metrics;
use super::render::{Captured, Ended, Wanted};
use crate::balance::EndpointState;
use crate::tls::TlsFacts;

/// What requests and connections of one filter chain are counted and logged by; built with the snapshot.
#[derive(Debug)]
pub struct Scope {
    /// Which way the traffic goes.
    pub direction: Direction,
    /// The listener's counts.
    pub listener: Arc<ListenerStats>,
    /// The process's counts of bounds that were met.
    pub limits: Arc<LimitStats>,
    no_cluster: Arc<ClusterStats>,
    logs: Vec<(Compiled, Arc<LogFile>)>,
    wanted: Wanted,
}

impl Scope {
    /// Resolves everything that a filter chain counts and logs by.
    ///
    /// # Errors
    /// An access log format that cannot be compiled.
    pub fn build(
        metrics: &Arc<Metrics>,
        listener: &Arc<str>,
        direction: Direction,
        access_log: &[AccessLog],
    ) -> Result<Arc<Self>, FormatError> {
        let mut wanted = Wanted::default();
        let mut logs = Vec::new();
        for log in access_log {
            let format = compile(log)?;
            wanted.add(&format);
            logs.push((format, metrics.logs.file(&log.path)));
        }
        Ok(Arc::new(Self {
            direction,
            listener: metrics.listener(listener, direction),
            limits: metrics.limits.clone(),
            no_cluster: metrics.no_cluster(),
            logs,
            wanted,
        }))
    }

    fn write(&self, ended: &Ended<'_>) {
        for (format, file) in &self.logs {
            file.write(&ended.line(format));
        }
    }

    /// What an access log may want of what begins now; `None` where nothing is logged.
    fn capture(
        &self,
        peer: SocketAddr,
        local: SocketAddr,
        protocol: &'static str,
        tls: Option<&Arc<TlsFacts>>,
    ) -> Option<Box<Captured>> {
        if self.logs.is_empty() {
            return None;
        }
        Some(Box::new(Captured {
            started: SystemTime::now(),
            peer,
            local,
            protocol,
            tls: tls.cloned(),
            request: Vec::new(),
            response: Vec::new(),
            trailers: Vec::new(),
            route: None,
            endpoint: None,
            attempts: 0,
        }))
    }
}

/// The downstream's protocol, as the access log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// `HTTP/1.0`.
    Http10,
    /// `HTTP/1.1`.
    #[default]
    Http11,
    /// `HTTP/2`.
    Http2,
}

impl Protocol {
    /// As the access log names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// The connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub struct DownstreamInfo<'a> {
    /// The peer's address.
    pub peer: SocketAddr,
    /// Our address (the original destination of a redirected connection).
    pub local: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// What its handshake has shown.
    pub tls: Option<&'a Arc<TlsFacts>>,
}

/// One request from its head to its end. Dropping it without [`Self::finish`] counts it as cut by the downstream.
#[derive(Debug)]
pub struct RequestLog {
    scope: Arc<Scope>,
    cluster: Option<Arc<ClusterStats>>,
    started: Instant,
    status: u16,
    call: bool,
    grpc_status: Option<GrpcStatus>,
    cut: bool,
    flags: ResponseFlags,
    received: u64,
    sent: u64,
    details: Cow<'static, str>,
    /// What is told behind the details.
    notes: String,
    captured: Option<Box<Captured>>,
    finished: bool,
    _active: GaugeGuard,
}

impl RequestLog {
    /// A request head has arrived. Allocates only where an access log wants something of it.
    pub fn begin<H: RequestHead + ?Sized>(
        scope: &Arc<Scope>,
        downstream: &DownstreamInfo<'_>,
        head: &H,
        now: Instant,
    ) -> Self {
        let mut captured = scope.capture(
            downstream.peer,
            downstream.local,
            downstream.protocol.as_str(),
            downstream.tls,
        );
        if let Some(captured) = &mut captured {
            let names = scope.wanted.request.iter();
            captured.request = names
                .map(|name| Some((&*request_header(head, name)?).into()))
                .collect();
        }
        Self {
            scope: scope.clone(),
            cluster: None,
            started: now,
            status: 0,
            call: false,
            grpc_status: None,
            cut: false,
            flags: ResponseFlags::NONE,
            received: 0,
            sent: 0,
            details: Cow::Borrowed(""),
            notes: String::new(),
            captured,
            finished: false,
            _active: scope.listener.requests_active.guard(),
        }
    }

    /// The request is a gRPC call, which has a status of its own.
    pub fn call(&mut self) {
        self.call = true;
    }

    /// The request goes to this cluster by the route named `route`.
    pub fn routed(&mut self, cluster: &Arc<ClusterStats>, route: &Arc<str>) {
        self.cluster = Some(cluster.clone());
        if let Some(captured) = &mut self.captured {
            captured.route = Some(route.clone());
        }
    }

    /// An attempt goes to this endpoint; the last one is logged.
    pub fn upstream(&mut self, endpoint: &Arc<EndpointState>) {
        if let Some(captured) = &mut self.captured {
            captured.endpoint = Some(endpoint.clone());
            captured.attempts += 1;
        }
    }

    /// An answer begins: the upstream's or our own. `header` looks fields up by lower-case name.
    pub fn response<'h>(&mut self, status: u16, header: impl Fn(&str) -> Option<&'h [u8]>) {
        self.status = status;
        self.read_status(&header);
        if let Some(captured) = &mut self.captured {
            let names = self.scope.wanted.response.iter();
            captured.response = names.map(|name| Some(header(name)?.into())).collect();
        }
    }

    /// The answer ends with fields behind its body; `header` looks them up by lower-case name.
    pub fn trailers<'h>(&mut self, header: impl Fn(&str) -> Option<&'h [u8]>) {
        self.read_status(&header);
        if let Some(captured) = &mut self.captured {
            let names = self.scope.wanted.trailers.iter();
            captured.trailers = names.map(|name| Some(header(name)?.into())).collect();
        }
    }

    /// The answer has begun and will not be finished, and not because the downstream left.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// The last status counts: that of the trailers before that of the head.
    fn read_status<'h>(&mut self, header: &impl Fn(&str) -> Option<&'h [u8]>) {
        if self.call
            && let Some(value) = header("grpc-status")
        {
            self.grpc_status = Some(GrpcStatus::read(value));
        }
    }

    /// A bound of the proxy was met, which is counted.
    pub fn limit(&self, limit: Limit) {
        self.scope.limits.hit(limit);
    }

    /// Something went wrong, or was decided here.
    pub fn flag(&mut self, flag: ResponseFlag) {
        self.flags.insert(flag);
    }

    /// Why in a few words, as `%RESPONSE_CODE_DETAILS%` and the reason of the access log show it; the last counts.
    pub fn details(&mut self, details: impl Into<Cow<'static, str>>) {
        self.details = details.into();
    }

    /// Something to be told behind the details, whatever comes of the request.
    pub fn note(&mut self, note: impl FnOnce() -> String) {
        if self.captured.is_some() {
            add_note(&mut self.notes, &note());
        }
    }

    /// Body bytes came from the downstream.
    pub fn received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// Body bytes went to the downstream.
    pub fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The request is over: counts it and writes it to the access logs.
    pub fn finish(mut self, now: Instant) {
        self.end(now);
    }

    fn end(&mut self, now: Instant) {
        self.finished = true;
        let duration: Duration = now.saturating_duration_since(self.started);
        let cluster = self.cluster.as_ref().unwrap_or(&self.scope.no_cluster);
        let grpc = self.call.then(|| self.outcome());
        cluster.http(self.scope.direction).record(&RequestCounts {
            status: self.status,
            grpc,
            failed: self.cut || grpc.map_or(self.status >= 500, GrpcStatus::is_server_error),
            flags: self.flags,
            duration,
            received: self.received,
            sent: self.sent,
        });
        if let Some(captured) = &self.captured {
            self.scope.write(&Ended {
                captured,
                wanted: &self.scope.wanted,
                cluster: self.cluster.as_deref(),
                status: self.status,
                grpc,
                flags: self.flags,
                details: &with_notes(&self.details, &self.notes),
                received: self.received,
                sent: self.sent,
                duration,
            });
        }
    }

    /// The status that the caller of a call heard, or takes what it heard for.
    fn outcome(&self) -> GrpcStatus {
        let left = [ResponseFlag::DC, ResponseFlag::DR];
        match self.grpc_status {
            Some(status) => status,
            None if left.iter().any(|flag| self.flags.contains(*flag)) => GrpcStatus::CANCELLED,
            None if self.cut => GrpcStatus::UNAVAILABLE,
            None => GrpcStatus::of_http(self.status),
        }
    }
}

/// Notes of one request or connection: more than these bytes say nothing more.
const NOTES_BYTES_MAX: usize = 1024;

fn add_note(notes: &mut String, note: &str) {
    if notes.len() + note.len() > NOTES_BYTES_MAX {
        return;
    }
    if !notes.is_empty() {
        notes.push_str("; ");
    }
    notes.push_str(note);
}

fn with_notes<'a>(details: &'a str, notes: &'a str) -> Cow<'a, str> {
    match (details, notes) {
        (details, "") => details.into(),
        ("", notes) => notes.into(),
        (details, notes) => format!("{details}; {notes}").into(),
    }
}

/// A request header, or one of the pseudo-headers that formats name.
fn request_header<'h, H: RequestHead + ?Sized>(head: &'h H, name: &str) -> Option<Cow<'h, [u8]>> {
    match name {
        ":method" => Some(head.method().into()),
        ":authority" | "host" => Some(head.authority().into()),
        ":path" => Some(without_tokens(head.path_and_query())),
        _ => head.header(name).map(Cow::Borrowed),
    }
}

/// The parameter that tokens stand in where they stand in a query (RFC 6750 §2.3).
const TOKEN_PARAMETER: &[u8] = b"access_token";

/// A path with its query; `-` in place of tokens, which are good for whoever reads them.
fn without_tokens(path: &[u8]) -> Cow<'_, [u8]> {
    let is_token = |pair: &[u8]| is_parameter(pair, TOKEN_PARAMETER);
    let Some(at) = memchr::memchr(b'?', path) else {
        return path.into();
    };
    let (path_and_mark, query) = path.split_at(at + 1);
    if !query.split(|byte| *byte == b'&').any(is_token) {
        return path.into();
    }
    let mut shown = path_and_mark.to_vec();
    for (index, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            shown.push(b'&');
        }
        match is_token(pair) {
            true => {
                shown.extend_from_slice(TOKEN_PARAMETER);
                shown.extend_from_slice(b"=-");
            }
            false => shown.extend_from_slice(pair),
        }
    }
    shown.into()
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        if !self.finished {
            self.flags.insert(ResponseFlag::DC);
            self.end(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
