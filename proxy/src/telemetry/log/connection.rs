//! A plain TCP connection from its acceptance to its end.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use weft_config::flag::{ResponseFlag, ResponseFlags};

use super::super::cluster::ClusterStats;
use super::super::counter::GaugeGuard;
use super::super::limits::Limit;
use super::super::render::{Captured, Ended};
use super::{Scope, add_note, with_notes};
use crate::balance::EndpointState;
use crate::tls::TlsFacts;

/// One plain TCP connection from its acceptance to its end.
#[derive(Debug)]
pub struct ConnectionLog {
    scope: Arc<Scope>,
    cluster: Option<Arc<ClusterStats>>,
    started: Instant,
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

impl ConnectionLog {
    /// A connection is to be passed on.
    pub fn begin(
        scope: &Arc<Scope>,
        peer: SocketAddr,
        local: SocketAddr,
        tls: Option<&Arc<TlsFacts>>,
        now: Instant,
    ) -> Self {
        Self {
            scope: scope.clone(),
            cluster: None,
            started: now,
            flags: ResponseFlags::NONE,
            received: 0,
            sent: 0,
            details: Cow::Borrowed(""),
            notes: String::new(),
            captured: scope.capture(peer, local, "-", tls),
            finished: false,
            _active: scope.listener.tcp_active.guard(),
        }
    }

    /// It goes to this cluster.
    pub fn routed(&mut self, cluster: &Arc<ClusterStats>) {
        self.cluster = Some(cluster.clone());
    }

    /// An attempt goes to this endpoint; the last one is logged.
    pub fn upstream(&mut self, endpoint: &Arc<EndpointState>) {
        if let Some(captured) = &mut self.captured {
            captured.endpoint = Some(endpoint.clone());
            captured.attempts += 1;
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

    /// Why in a few words; the last counts.
    pub fn details(&mut self, details: impl Into<Cow<'static, str>>) {
        self.details = details.into();
    }

    /// Something to be told behind the details, whatever comes of the connection.
    pub fn note(&mut self, note: impl FnOnce() -> String) {
        if self.captured.is_some() {
            add_note(&mut self.notes, &note());
        }
    }

    /// Bytes came from the downstream. May be told as they pass.
    pub fn received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// Bytes went to the downstream.
    pub fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The connection is over: counts it and writes it to the access logs.
    pub fn finish(mut self, now: Instant) {
        self.end(now);
    }

    fn end(&mut self, now: Instant) {
        self.finished = true;
        let cluster = self.cluster.as_ref().unwrap_or(&self.scope.no_cluster);
        cluster.tcp_connections.inc();
        cluster.tcp_received.add(self.received);
        cluster.tcp_sent.add(self.sent);
        if let Some(captured) = &self.captured {
            self.scope.write(&Ended {
                captured,
                wanted: &self.scope.wanted,
                cluster: self.cluster.as_deref(),
                status: 0,
                grpc: None,
                flags: self.flags,
                details: &with_notes(&self.details, &self.notes),
                received: self.received,
                sent: self.sent,
                duration: now.saturating_duration_since(self.started),
            });
        }
    }
}

impl Drop for ConnectionLog {
    fn drop(&mut self) {
        if !self.finished {
            self.flags.insert(ResponseFlag::DC);
            self.end(Instant::now());
        }
    }
}
