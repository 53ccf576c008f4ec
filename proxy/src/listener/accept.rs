//! Accepting: one loop per worker and bound address.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::admission::ConnectionGuard;
use super::bound::Bound;
use super::serve::Accepted;
use crate::telemetry::Limit;
use crate::worker::Worker;

/// Accepted in a row before other tasks of the worker have their turn.
const ACCEPTS_PER_TURN: u32 = 32;

/// Wait after the first accept that failed for want of descriptors or memory; doubled up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(5);

/// Longest such wait. A connection that closes ends it early.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Accepts until `closed` is dropped or the socket fails for good; what waits in the backlog then is still accepted.
pub(crate) async fn accept_loop(
    worker: Rc<Worker>,
    bound: Arc<Bound>,
    socket: std::net::TcpListener,
    mut closed: oneshot::Receiver<()>,
) {
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            warn!(address = %bound.address, %error, "listening socket not watched");
            return;
        }
    };
    {
        let mut accepting = pin!(accept_all(&worker, &bound, &socket));
        tokio::select! {
            () = &mut accepting => {}
            _ = &mut closed => {}
        }
    }
    // The kernel would reset those who wait.
    while worker.admission.has_room() {
        match socket.accept().now_or_never() {
            Some(Ok((stream, peer))) => admit(&worker, &bound, stream, peer),
            Some(Err(_)) | None => break,
        }
    }
}

async fn accept_all(worker: &Rc<Worker>, bound: &Arc<Bound>, socket: &TcpListener) {
    let mut back_off = BACK_OFF_MIN;
    let mut in_a_row = 0;
    loop {
        wait_for_room(worker).await;
        match socket.accept().await {
            Ok((stream, peer)) => {
                back_off = BACK_OFF_MIN;
                admit(worker, bound, stream, peer);
                in_a_row += 1;
                if in_a_row >= ACCEPTS_PER_TURN {
                    in_a_row = 0;
                    yield_now().await;
                }
            }
            Err(error) if concerns_one_connection(&error) => {
                debug!(address = %bound.address, %error, "connection gone before it was accepted");
            }
            Err(error) => {
                // EMFILE, ENFILE, ENOBUFS, ENOMEM: the socket stays readable, so trying again at once would spin.
                worker.metrics.limits.hit(Limit::Connections);
                warn!(address = %bound.address, %error, wait = ?back_off, "accepting pauses");
                drop(timeout_at(Instant::now() + back_off, worker.admission.released()).await);
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

/// While the process has as many connections as it may, others wait in the backlog.
///
/// So they do while load is shed by not accepting. The loop that waits for a connection then takes that one still.
async fn wait_for_room(worker: &Worker) {
    let mut counted = false;
    while !may_accept(worker) {
        let mut released = pin!(worker.admission.released());
        let mut changed = pin!(worker.overload.changed());
        released.as_mut().enable();
        changed.as_mut().enable();
        if may_accept(worker) {
            return;
        }
        if !counted {
            counted = true;
            let shed = worker.overload.holds_connections();
            worker.metrics.limits.hit(if shed {
                Limit::ShedConnections
            } else {
                Limit::Connections
            });
        }
        tokio::select! {
            () = released => {}
            () = changed => {}
        }
    }
}

/// Whether there is room for another connection, or it will be closed at once: while load is shed by closing, nobody is to
/// wait in the backlog for what may take long.
fn may_accept(worker: &Worker) -> bool {
    !worker.overload.holds_connections()
        && (worker.admission.takes_another() || worker.overload.rejects_connections())
}

/// `accept(2)` passes on network errors of the one connection; the next may be well.
fn concerns_one_connection(error: &io::Error) -> bool {
    let out_of_resources = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| !out_of_resources.contains(&errno))
}

/// Counts a connection and gives it to the worker that is to keep it.
fn admit(worker: &Rc<Worker>, bound: &Arc<Bound>, stream: TcpStream, peer: SocketAddr) {
    let settings = bound.settings();
    let shed = worker
        .overload
        .refuses_connection(&mut worker.rng.borrow_mut());
    if shed {
        settings.stats.connections_refused.inc();
        worker.metrics.limits.hit(Limit::ShedConnections);
        return;
    }
    if !bound.try_open(settings.connections_max) {
        settings.stats.connections_refused.inc();
        worker.metrics.limits.hit(Limit::Connections);
        return;
    }
    if !worker.admission.try_open() {
        bound.closed();
        settings.stats.connections_refused.inc();
        worker.metrics.limits.hit(Limit::Connections);
        return;
    }
    settings.stats.connections.inc();
    let keeper = worker.seats.keeper(worker.index);
    let load = worker.seats.load(keeper);
    load.add();
    let accepted = Accepted {
        stream,
        peer,
        guard: ConnectionGuard {
            admission: worker.admission.clone(),
            bound: bound.clone(),
            load,
            _open: worker.drain.connection(),
            _active: [
                settings.stats.connections_active.guard(),
                settings.stats.worker(keeper).guard(),
            ],
        },
        settings,
    };
    if keeper == worker.index {
        worker.keep(accepted);
        return;
    }
    let stats = accepted.settings.stats.clone();
    match hand_over(worker, keeper, accepted) {
        Ok(()) => stats.handovers.inc(),
        Err(error) => debug!(%peer, %error, "connection lost on its way to another worker"),
    }
}

fn hand_over(worker: &Rc<Worker>, keeper: usize, accepted: Accepted<TcpStream>) -> io::Result<()> {
    let parcel = accepted.try_map(TcpStream::into_std)?;
    if let Err(parcel) = worker.seats.hand_over(keeper, parcel) {
        // The other's queue is full: a connection kept here is better than one that waits.
        worker.keep(parcel.try_map(TcpStream::from_std)?);
    }
    Ok(())
}
