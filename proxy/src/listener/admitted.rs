//! Whether a connection may come in at all, by what is known of it before anything in it is looked at.

use tokio::time::Instant;
use tracing::debug;
use weft_config::flag::ResponseFlag;

use super::facts::ConnectionFacts;
use super::serve::Arrived;
use crate::policy::{Denied, Permit};
use crate::snapshot::ChainView;
use crate::telemetry::ConnectionLog;
use crate::worker::Worker;

/// Has the gates of `chain` judge a connection; `None`: it may not, which was counted and logged, and it was reset.
///
/// Handshake and detection take time: the gates are those of the snapshot in force now.
pub(super) fn admit(
    worker: &Worker,
    chain: &ChainView,
    arrived: Arrived,
) -> Option<(Permit, Arrived)> {
    let facts = &arrived.facts;
    let snapshot = worker.snapshot.current();
    let now = snapshot.listener(&facts.listener);
    let now = now.and_then(|listener| listener.find_chain(facts));
    match Permit::of_connection(&now.unwrap_or(chain).access, facts) {
        Ok(permit) => Some((permit, arrived)),
        Err(denied) => {
            refused(chain, facts, &denied);
            // An orderly end would look like a server with nothing to say.
            arrived.stream.abort();
            None
        }
    }
}

fn refused(chain: &ChainView, facts: &ConnectionFacts, denied: &Denied) {
    let details = denied.details();
    debug!(peer = %facts.peer, details, "connection denied");
    let tls = facts.tls.as_ref();
    let now = Instant::now();
    let mut log = ConnectionLog::begin(chain.scope(), facts.peer, facts.destination(), tls, now);
    log.flag(ResponseFlag::UAEX);
    log.details(details);
    log.finish(now);
}
