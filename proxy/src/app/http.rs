//! The HTTP side of each worker.

use std::sync::Arc;

use weft_config::listener::Direction;

use crate::drain::Drain;
use crate::http::Bounds;
use crate::http::pump::{self, HttpParts};
use crate::overload::Overload;
use crate::snapshot::SnapshotStore;
use crate::telemetry::{Metrics, Scope};
use crate::tunnel::TunnelLimits;
use crate::worker::HttpFactory;

/// Makes the HTTP side of each worker.
pub(super) fn factory(
    store: &Arc<SnapshotStore>,
    metrics: &Arc<Metrics>,
    drain: &Drain,
    overload: &Arc<Overload>,
    bounds: Bounds,
    tunnel: TunnelLimits,
) -> HttpFactory {
    let scope = Scope::build(metrics, &"-".into(), Direction::Unspecified, &[])
        .expect("no access log has no format that could fail to compile");
    pump::factory(HttpParts {
        snapshots: store.clone(),
        scope,
        drain: drain.clone(),
        overload: overload.clone(),
        bounds,
        tunnel,
    })
}
