//! The connections of a worker, which of them are to be written, and the memory that they borrow.

use super::arena::Arena;
use super::connection::{Closing, ConnId, Connection};
use crate::http::codec::{Out, ReadBuf};

/// Bytes that one read can bring.
pub(crate) const READ_BYTES: usize = 32 * 1024;

/// Buffers kept for reuse, of each kind.
const SPARE_MAX: usize = 64;

/// Connections whose input waits for their next turn. Each holds a buffer of [`READ_BYTES`].
const PAUSED_MAX: usize = 128;

/// Larger output buffers are freed after use.
const SPARE_BYTES_MAX: usize = 128 * 1024;

/// Connections, and buffers that they hold only while there is something in them.
#[derive(Default)]
pub(crate) struct Wires {
    connections: Arena<Connection>,
    /// To be written at the end of the turn.
    dirty: Vec<ConnId>,
    /// To be looked at by their tasks: reading goes on, or the end has come.
    woken: Vec<ConnId>,
    outs: Vec<Vec<u8>>,
    inputs: Vec<ReadBuf>,
    paused: usize,
}

impl Wires {
    pub(super) fn insert(&mut self, connection: Connection) -> ConnId {
        self.connections.insert(connection)
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(id)
    }

    /// A connection that is about to be written to: lends it a buffer and has it written at the end of the turn.
    pub(super) fn writer(&mut self, id: ConnId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id)?;
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(id);
            if connection.out.is_empty() {
                connection.out = Out::with_memory(self.outs.pop().unwrap_or_default());
            }
        }
        Some(connection)
    }

    /// Takes a connection out, and back what it had borrowed.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        self.unpause(id);
        let mut connection = self.connections.remove(id)?;
        self.give_out(std::mem::take(&mut connection.out));
        if let Some(input) = connection.input.take() {
            self.give_input(input);
        }
        self.woken.push(id);
        Some(connection)
    }

    /// Bytes were written: whether nothing is left. Then the buffer goes back.
    pub(super) fn written(&mut self, id: ConnId, bytes: usize) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return false;
        };
        connection.out.advance(bytes);
        if !connection.out.is_empty() {
            return false;
        }
        let out = std::mem::take(&mut connection.out);
        self.give_out(out);
        true
    }

    /// The next connection to be written.
    pub(super) fn next_dirty(&mut self) -> Option<ConnId> {
        while let Some(id) = self.dirty.pop() {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            connection.dirty = false;
            if !connection.out.is_empty() {
                return Some(id);
            }
            // In the end there was nothing to write.
            let out = std::mem::take(&mut connection.out);
            self.give_out(out);
        }
        None
    }

    /// The next connection whose task is to look again.
    pub(super) fn next_woken(&mut self) -> Option<ConnId> {
        self.woken.pop()
    }

    pub(super) fn wake(&mut self, id: ConnId) {
        self.woken.push(id);
    }

    /// Reading may go on, if it was held up.
    pub(super) fn unblock(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.starved
        {
            self.woken.push(id);
        }
    }

    /// A buffer to read into: what is left of the last one, or an empty one.
    pub(super) fn lend_input(&mut self, id: ConnId) -> ReadBuf {
        let left = self.connections.get_mut(id).and_then(|c| c.input.take());
        left.or_else(|| self.inputs.pop())
            .unwrap_or_else(|| ReadBuf::with_capacity(READ_BYTES))
    }

    /// Takes a buffer back; what was not taken stays with the connection.
    pub(super) fn settle_input(&mut self, id: ConnId, input: ReadBuf) {
        match self.connections.get_mut(id) {
            Some(connection) if !input.is_empty() && connection.closing == Closing::No => {
                connection.input = Some(input);
            }
            _ => self.give_input(input),
        }
    }

    /// All connections.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        self.connections.keys()
    }

    /// The connection in `slot`.
    pub(super) fn at(&self, slot: u32) -> Option<ConnId> {
        self.connections.key_at(slot)
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// What is left of the input of `id` is looked at when others had their turn; no, if too many hold input already.
    pub(super) fn pause(&mut self, id: ConnId) -> bool {
        let room = self.paused < PAUSED_MAX;
        if let Some(connection) = self.connections.get_mut(id).filter(|_| room) {
            connection.paused = true;
            self.paused += 1;
        }
        room
    }

    /// Whether the input of `id` waits for its next turn.
    pub(super) fn is_paused(&self, id: ConnId) -> bool {
        self.get(id).is_some_and(|connection| connection.paused)
    }

    /// The turn of `id` has come again.
    pub(super) fn unpause(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id) {
            self.paused -= usize::from(std::mem::take(&mut connection.paused));
        }
    }

    /// Frees the buffers that are kept for reuse.
    pub(super) fn give_back_spares(&mut self) {
        self.outs = Vec::new();
        self.inputs = Vec::new();
    }

    fn give_input(&mut self, mut input: ReadBuf) {
        if self.inputs.len() < SPARE_MAX {
            input.clear();
            self.inputs.push(input);
        }
    }

    fn give_out(&mut self, out: Out) {
        let memory = out.into_memory();
        if memory.capacity() > 0
            && memory.capacity() <= SPARE_BYTES_MAX
            && self.outs.len() < SPARE_MAX
        {
            self.outs.push(memory);
        }
    }
}
