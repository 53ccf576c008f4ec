//! A stream that says nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::snapshot;
use crate::snapshot::SnapshotStore;
use crate::source::workloads::Registry;
use crate::status::StatusBoard;
use crate::xds::server::Core;
use crate::xds::stream::{StreamContext, run};
use crate::xds::{Session, SessionLimits, XdsConfig, XdsCounters};

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_say_who_asks_is_ended() {
    let (_running, stop) = watch::channel(false);
    let core = Arc::new(Core {
        snapshots: Arc::new(SnapshotStore::new(snapshot(1, &["a"], "1"))),
        board: Arc::new(StatusBoard::new()),
        registry: Arc::new(Registry::new(Duration::ZERO)),
        config: XdsConfig::default(),
        counters: XdsCounters::default(),
        stream_ids: AtomicU64::new(1),
        streams: AtomicUsize::new(1),
        stop,
    });
    let context = StreamContext {
        core,
        peer: None,
        service: "ADS",
    };
    let session = Session::delta(None, SessionLimits::default());
    let (responses, mut said) = mpsc::channel(1);
    let stream = run(session, context, futures_util::stream::pending(), responses);
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, stream).await.unwrap();
    let status = said.recv().await.unwrap().unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
}
