//! The HTTP side of a worker, as listeners hand connections to it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::spawn_local;

use super::{Worker, WorkerOptions, serve};
use crate::drain::Drain;
use crate::http::bounds::Bounds;
use crate::overload::Overload;
use crate::snapshot::SnapshotStore;
use crate::telemetry::Scope;
use crate::tunnel::{Pools, TunnelLimits};
use crate::worker::{HttpConnection, HttpFactory, ServeHttp};

/// What the HTTP sides of all workers share.
#[derive(Clone)]
pub struct HttpParts {
    /// What is in force.
    pub snapshots: Arc<SnapshotStore>,
    /// What requests are counted by that no listener takes.
    pub scope: Arc<Scope>,
    /// The drain of the process.
    pub drain: Drain,
    /// What of new load is refused.
    pub overload: Arc<Overload>,
    /// What peers may do for nothing.
    pub bounds: Bounds,
    /// Bounds on tunnels, per worker.
    pub tunnel: TunnelLimits,
}

/// Makes each worker's HTTP side.
pub fn factory(parts: HttpParts) -> HttpFactory {
    Arc::new(move |_| Rc::new(Side::new(&parts)))
}

struct Side {
    worker: Rc<Worker>,
    /// Whether the task that keeps time runs; it needs the worker's `LocalSet`, which a connection brings.
    runs: Cell<bool>,
}

impl Side {
    fn new(parts: &HttpParts) -> Self {
        let worker = Worker::new(WorkerOptions {
            snapshots: parts.snapshots.clone(),
            scope: parts.scope.clone(),
            drain: parts.drain.watch(),
            overload: parts.overload.clone(),
            bounds: parts.bounds,
            tunnels: Pools::new(parts.tunnel),
            rng: fastrand::Rng::new(),
        });
        Self {
            worker,
            runs: Cell::new(false),
        }
    }
}

impl ServeHttp for Side {
    fn serve(&self, connection: HttpConnection) {
        if !self.runs.replace(true) {
            spawn_local(self.worker.clone().run());
        }
        let worker = self.worker.clone();
        spawn_local(async move {
            let HttpConnection {
                stream,
                first_bytes,
                facts,
                guard,
            } = connection;
            serve(&worker, stream, first_bytes, facts).await;
            drop(guard);
        });
    }
}
