//! The pump: the only part of `http` that knows sockets and the clock.
//!
//! One task per connection; a request costs another only where it waits for a connection to open or for a name. A task that finds its socket readable reads once into a borrowed buffer,
//! the engine works, and at the end of that turn everything that became writable is written at once, whichever
//! connection it belongs to. What goes out on a connection that several exchanges share is gathered until all tasks had their turn whose
//! sockets were found readable together: one call, and one record of TLS, for the requests of many. Other tasks are woken only when their
//! socket would not take all, when they may read again, and when their connection is over.

mod gathering;
mod side;
mod socket;
#[cfg(test)]
pub(in crate::http) mod tests;
mod tunnels;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{Notify, watch};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep_until};

use self::gathering::Gathered;
pub use self::side::{HttpParts, factory};
use self::socket::Sockets;
use self::tunnels::Tunnel;
use super::bounds::Bounds;
use super::engine::{Action, AttemptId, ConnId, Engine, EngineOptions};
use crate::drain::{DrainWatch, Phase};
use crate::endpoint;
use crate::listener::ConnectionFacts;
use crate::overload::Overload;
use crate::snapshot::SnapshotStore;
use crate::stream::Stream;
use crate::telemetry::Scope;
use crate::tunnel;

/// Reads of one connection before others have their turn.
const TURNS_MAX: u32 = 4;

/// What a worker's HTTP side is made from.
pub struct WorkerOptions {
    /// What is in force.
    pub snapshots: Arc<SnapshotStore>,
    /// What requests are counted by that no listener takes.
    pub scope: Arc<Scope>,
    /// When to tell everybody to go elsewhere.
    pub drain: DrainWatch,
    /// What of new load is refused.
    pub overload: Arc<Overload>,
    /// What peers may do for nothing.
    pub bounds: Bounds,
    /// Pipes and buffers of upgraded connections.
    pub tunnels: tunnel::Pools,
    /// Random numbers: routes' shares, balancing, request ids.
    pub rng: fastrand::Rng,
}

/// The HTTP side of one worker. Lives on its thread, inside a `LocalSet`.
pub struct Worker {
    state: RefCell<State>,
    snapshots: Arc<SnapshotStore>,
    drain: DrainWatch,
    relief: watch::Receiver<u64>,
    tunnels: tunnel::Pools,
    /// The first deadline moved up.
    sooner: Notify,
}

struct State {
    engine: Engine,
    sockets: Sockets,
    gathered: Gathered,
    tunnels: Vec<Tunnel>,
    /// When the task of [`Worker::run`] wakes by itself.
    wakes_at: Option<Instant>,
}

impl Worker {
    /// A worker without connections. Spawn [`Self::run`] beside it.
    pub fn new(options: WorkerOptions) -> Rc<Self> {
        let relief = options.overload.relief();
        let engine = Engine::new(EngineOptions {
            snapshots: options.snapshots.clone(),
            scope: options.scope,
            overload: options.overload,
            bounds: options.bounds,
            half_closed_timeout: options.tunnels.half_closed_timeout(),
            rng: options.rng,
            now: Instant::now(),
        });
        Rc::new(Self {
            state: RefCell::new(State {
                engine,
                sockets: Sockets::default(),
                gathered: Gathered::default(),
                tunnels: Vec::new(),
                wakes_at: None,
            }),
            snapshots: options.snapshots,
            drain: options.drain,
            relief,
            tunnels: options.tunnels,
            sooner: Notify::new(),
        })
    }

    /// Connections (of both sides) and requests running here now, tunnels left out.
    pub fn population(&self) -> (usize, usize) {
        self.state.borrow().engine.population()
    }

    /// Keeps time for all connections of this worker, watches for new snapshots and for a drain. Never returns.
    pub async fn run(self: Rc<Self>) {
        spawn_local(self.clone().write_gathered());
        let mut revisions = self.snapshots.revisions();
        let mut drain = self.drain.clone();
        let mut relief = self.relief.clone();
        let mut draining = false;
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            let wakes_at = self.state.borrow().wakes_at;
            if let Some(at) = wakes_at {
                timer.as_mut().reset(at);
            }
            tokio::select! {
                () = &mut timer, if wakes_at.is_some() => {
                    self.turn(|state, now| {
                        state.wakes_at = None;
                        state.engine.expire(now);
                    });
                }
                () = self.sooner.notified() => {}
                () = drain.reached(Phase::Draining), if !draining => {
                    draining = true;
                    self.turn(|state, now| state.engine.drain(now));
                }
                Ok(()) = relief.changed() => self.turn(|state, _| state.engine.give_back_spares()),
                Ok(()) = revisions.changed() => self.turn(|state, now| state.engine.sweep(now)),
            }
        }
    }

    /// Tells the engine something and does what it then asks for.
    fn turn<R>(self: &Rc<Self>, tell: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        let result = tell(&mut state, now);
        self.end_turn(&mut state, now);
        result
    }

    /// Writes what is to be written, does what is to be done, wakes who is to look again.
    fn end_turn(self: &Rc<Self>, state: &mut State, now: Instant) {
        loop {
            while let Some(id) = state.engine.next_dirty() {
                if !state.gather(id) {
                    state.write(id, now);
                }
            }
            let Some(action) = state.engine.next_action() else {
                break;
            };
            self.act(state, action);
        }
        while let Some(id) = state.engine.next_woken() {
            if state.engine.is_open(id) {
                state.sockets.wake(id);
            } else {
                state.sockets.remove(id);
            }
        }
        let next = state.engine.next_deadline();
        if next.is_some_and(|next| state.wakes_at.is_none_or(|at| next < at)) {
            state.wakes_at = next;
            self.sooner.notify_one();
        }
    }

    fn act(self: &Rc<Self>, state: &mut State, action: Action) {
        let worker = self.clone();
        match action {
            Action::Connect {
                attempt,
                address,
                dial,
            } => {
                spawn_local(async move {
                    match endpoint::connect(&address, &dial).await {
                        Ok(stream) => {
                            let _own_call = dial.own_calls.and_then(|calls| calls.note(&stream));
                            worker.carry_upstream(attempt, stream).await;
                        }
                        Err(error) => worker
                            .turn(|state, now| state.engine.connect_failed(attempt, &error, now)),
                    }
                });
            }
            Action::Shutdown(id) => state.sockets.shutdown(id),
            Action::Abort(id) => state.sockets.abort(id),
            Action::Name { exchange, ticket } => {
                spawn_local(async move {
                    let answer = ticket.await;
                    worker.turn(|state, now| state.engine.named(exchange, answer, now));
                });
            }
            Action::Keys {
                exchange,
                keys,
                seen,
                until,
            } => {
                spawn_local(async move {
                    keys.newer_than(seen, until).await;
                    worker.turn(|state, now| state.engine.keyed(exchange, now));
                });
            }
            Action::Switch(switched) => {
                let down = state.sockets.remove(switched.down);
                let up = state.sockets.remove(switched.up);
                if let (Some(down), Some(up)) = (down, up) {
                    state.tunnels.push(Tunnel { switched, down, up });
                }
            }
        }
    }

    async fn carry_upstream(self: Rc<Self>, attempt: AttemptId, stream: Stream) {
        let id = self.turn(|state, now| {
            let id = state.engine.connected(attempt, stream.tls(), now)?;
            state.sockets.insert(id, stream);
            Some(id)
        });
        if let Some(id) = id {
            poll_fn(|cx| self.poll(id, cx)).await;
        }
    }

    /// Carries one connection until it is over.
    fn poll(self: &Rc<Self>, id: ConnId, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        let mut turns = 0;
        loop {
            let State {
                engine, sockets, ..
            } = &mut *state;
            let Some(socket) = sockets.get(id) else {
                return Poll::Ready(());
            };
            socket.remember(cx.waker());
            if engine.is_paused(id) {
                if turns > 0 {
                    return after_others(cx);
                }
                turns += 1;
                let now = Instant::now();
                engine.go_on(id, now);
                self.end_turn(&mut state, now);
                continue;
            }
            if socket.is_blocked() {
                match socket.poll_unblocked(cx) {
                    Poll::Ready(()) => {
                        let now = Instant::now();
                        state.write(id, now);
                        self.end_turn(&mut state, now);
                        continue;
                    }
                    Poll::Pending => {}
                }
            }
            if !engine.wants_read(id) {
                return Poll::Pending;
            }
            if turns >= TURNS_MAX {
                return after_others(cx);
            }
            let mut input = engine.lend_input(id);
            match socket.poll_read(cx, &mut input) {
                Poll::Pending => {
                    engine.unread(id, input);
                    return Poll::Pending;
                }
                Poll::Ready(read) => {
                    turns += 1;
                    let now = Instant::now();
                    match read {
                        Ok(0) => {
                            engine.unread(id, input);
                            engine.ended(id, now);
                        }
                        Ok(_) => engine.received(id, input, now),
                        Err(_) => {
                            engine.unread(id, input);
                            engine.broken(id, now);
                        }
                    }
                    self.end_turn(&mut state, now);
                }
            }
        }
    }
}

/// Has the task polled again when all sockets were asked, and the tasks of those that became readable came first.
fn after_others(cx: &mut Context<'_>) -> Poll<()> {
    pin!(yield_now()).poll(cx)
}

impl State {
    /// Writes what waits on `id`, as far as its socket takes it.
    fn write(&mut self, id: ConnId, now: Instant) {
        while let Some(socket) = self.sockets.get(id) {
            let pending = self.engine.pending(id);
            if pending.is_empty() || socket.is_blocked() {
                return;
            }
            match socket.try_write(pending) {
                Ok(Some(bytes)) => self.engine.written(id, bytes, now),
                // Its task waits for the socket from now on.
                Ok(None) => return self.sockets.wake(id),
                Err(_) => return self.engine.broken(id, now),
            }
        }
    }
}

/// Carries a downstream HTTP connection to its end; an upgraded one as a tunnel, to the tunnel's end.
///
/// `first_bytes` were read before and come first. `TCP_NODELAY` is inherited from the listening socket.
pub async fn serve(
    worker: &Rc<Worker>,
    stream: Stream,
    first_bytes: Vec<u8>,
    facts: ConnectionFacts,
) {
    let id = worker.turn(|state, now| {
        let id = state.engine.accepted(Rc::new(facts), now);
        state.sockets.insert(id, stream);
        if !first_bytes.is_empty() {
            let mut input = state.engine.lend_input(id);
            input.extend(&first_bytes);
            state.engine.received(id, input, now);
        }
        id
    });
    drop(first_bytes);
    poll_fn(|cx| worker.poll(id, cx)).await;
    let tunnel = worker.state.borrow_mut().take_tunnel(id);
    if let Some(tunnel) = tunnel {
        // Boxed: every connection at rest would carry the tunnel's state otherwise.
        Box::pin(tunnel.carry(worker)).await;
    }
}
