//! Writes of connections that several exchanges share, put off until everybody who was found readable had a turn.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::{State, Worker};
use crate::http::engine::ConnId;

/// Bytes that wait at most; more are written at once. Two full records of TLS.
const GATHERED_BYTES_MAX: usize = 32 * 1024;

/// Connections whose bytes wait for more.
#[derive(Default)]
pub(super) struct Gathered {
    connections: Vec<ConnId>,
    /// The task that writes them, once it runs.
    writer: Option<Waker>,
}

impl State {
    /// Whether the bytes of `id` can wait for the end of the round. They are written then, by [`Worker::write_gathered`].
    pub(super) fn gather(&mut self, id: ConnId) -> bool {
        let Some(writer) = &self.gathered.writer else {
            return false;
        };
        let Some(socket) = self.sockets.get(id) else {
            return false;
        };
        if !self.engine.gathers(id) || self.engine.pending(id).len() >= GATHERED_BYTES_MAX {
            return false;
        }
        if socket.gather() {
            if self.gathered.connections.is_empty() {
                writer.wake_by_ref();
            }
            self.gathered.connections.push(id);
        }
        true
    }
}

impl Worker {
    /// Writes what was gathered, each time behind the tasks that were woken before the first of it. Never returns.
    pub(super) async fn write_gathered(self: Rc<Self>) {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            match &mut state.gathered.writer {
                Some(writer) => writer.clone_from(cx.waker()),
                None => state.gathered.writer = Some(cx.waker().clone()),
            }
            drop(state);
            self.turn(|state, now| {
                while let Some(id) = state.gathered.connections.pop() {
                    if let Some(socket) = state.sockets.get(id) {
                        socket.gathered();
                        state.write(id, now);
                    }
                }
            });
            Poll::Pending
        })
        .await
    }
}
