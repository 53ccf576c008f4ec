//! Streams that say nothing, or nothing that can be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::snapshot;
use crate::snapshot::SnapshotStore;
use crate::source::workloads::Registry;
use crate::status::StatusBoard;
use crate::xds::server::Core;
use crate::xds::stream::{Request, StreamContext, run};
use crate::xds::{Session, SessionLimits, XdsConfig, XdsCounters};

/// Runs a stream of these requests among so many others; what it is ended with, if it is within a minute.
async fn ended<S>(requests: S, streams: usize) -> Option<tonic::Status>
where
    S: futures_util::Stream<Item = Result<Request, tonic::Status>>,
{
    let (_running, stop) = watch::channel(false);
    let core = Arc::new(Core {
        limiter: Default::default(),
        snapshots: Arc::new(SnapshotStore::new(snapshot(1, &["a"], "1"))),
        board: Arc::new(StatusBoard::new()),
        registry: Arc::new(Registry::new(Duration::ZERO)),
        config: XdsConfig::default(),
        counters: XdsCounters::default(),
        stream_ids: AtomicU64::new(1),
        streams: AtomicUsize::new(streams),
        stop,
    });
    let context = StreamContext {
        certificate: None,
        core,
        peer: None,
        service: "ADS",
    };
    let session = Session::delta(None, SessionLimits::default());
    let (responses, mut said) = mpsc::channel(1);
    let limit = Duration::from_secs(60);
    let stream = run(session, context, requests, responses);
    tokio::time::timeout(limit, stream).await.ok()?;
    said.recv().await.unwrap().err()
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_say_who_asks_is_ended_where_streams_are_short() {
    let most = XdsConfig::default().streams_max;
    let status = ended(futures_util::stream::pending(), most / 2).await;
    assert_eq!(status.unwrap().code(), tonic::Code::DeadlineExceeded);
    // A client may have nothing to ask for until it is used.
    let status = ended(futures_util::stream::pending(), most / 2 - 1).await;
    assert!(status.is_none(), "{status:?}");
}

#[tokio::test]
async fn whoever_sends_what_cannot_be_read_is_told() {
    let fault = tonic::Status::invalid_argument("not a discovery request");
    let status = ended(futures_util::stream::iter([Err(fault)]), 1).await;
    assert_eq!(status.unwrap().code(), tonic::Code::InvalidArgument);
}
