//! Metrics, access log.
//!
//! Handles are resolved when a snapshot is built, the hot path only adds to them; nothing here is looked up by
//! name per request and no label comes from a request. What rises falls by a guard, and each request and
//! connection ends in one [`RequestLog::finish`] or [`ConnectionLog::finish`].

mod certificates;
mod cluster;
mod counter;
mod files;
mod histogram;
mod identity;
mod limits;
mod listener;
mod log;
mod metrics;
pub mod names;
mod overload;
mod policy;
mod render;
mod scrape;
mod tls;
mod xds;

pub use certificates::CertificateExpiries;
pub(crate) use cluster::pick;
pub use cluster::{ClusterStats, HttpCounters, Resource};
pub use counter::{Counter, Gauge, GaugeGuard, set_worker};
pub use files::LogFiles;
pub use histogram::Histogram;
pub use identity::{IdentityResult, IdentityStats};
pub use limits::{Limit, LimitStats};
pub use listener::ListenerStats;
pub use log::{ConnectionLog, DownstreamInfo, Protocol, RequestLog, Scope};
pub use metrics::Metrics;
pub use overload::OverloadStats;
pub use policy::{AccessStats, FaultStats, JwtStats, KeysStats, RateLimitStats};
pub(crate) use scrape::resident_bytes;
pub use tls::{RESULTS as TLS_RESULTS, TlsStats};
pub use xds::{XdsStats, XdsType, XdsTypeStats};
