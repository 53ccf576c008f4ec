//! The streams that are open (RFC 9113 §5.1). All others are idle or closed, which their numbers tell.

use std::collections::VecDeque;

use super::window::{ReceiveWindow, SendWindow};

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) read: Read,
    pub(super) write: Write,
    pub(super) send: SendWindow,
    pub(super) receive: ReceiveWindow,
    /// What is left of the content that the peer has announced.
    pub(super) length_in: Option<u64>,
    /// What is left of the content that we have announced.
    pub(super) length_out: Option<u64>,
    /// Interim responses so far.
    pub(super) interims: u32,
    /// What the request was, as far as its response depends on it.
    pub(super) request: Request,
    /// Whether what both sides send belongs to no message any more.
    pub(super) tunnel: bool,
    /// The protocol that a client has asked for by an extended CONNECT.
    pub(super) protocol: Option<Box<[u8]>>,
    /// Whether [`Streams::next_ready`] is to give this one as soon as its window allows.
    pub(super) blocked: bool,
    /// Whether it stands in the queue of those that can go on.
    queued: bool,
}

/// Where we are in what the peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// At a response's head.
    Head,
    /// In the content, at its trailers, or in a tunnel.
    Body,
    /// The message broke a rule: what still comes of it is thrown away.
    Discard,
    /// The peer has ended its side.
    Done,
}

/// Where we are in what we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Head,
    Body,
    /// There is no content (a response to `HEAD`, a 304): what is given all the same is dropped.
    Bodiless,
    Done,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Plain,
    /// Of method `HEAD`: its response has no content.
    Head,
    /// Of method `CONNECT` (RFC 9113 §8.5): a 2xx opens a tunnel.
    Connect,
    /// With `:protocol` (RFC 8441): likewise.
    Extended,
}

impl Stream {
    pub(super) fn new(id: u32, read: Read, send: u32, receive: u32) -> Self {
        Self {
            id,
            read,
            write: Write::Head,
            send: SendWindow::new(send),
            receive: ReceiveWindow::new(receive),
            length_in: None,
            length_out: None,
            interims: 0,
            request: Request::Plain,
            tunnel: false,
            protocol: None,
            blocked: false,
            queued: false,
        }
    }

    /// Whether both sides have ended.
    pub(super) fn is_over(&self) -> bool {
        self.read == Read::Done && self.write == Write::Done
    }

    /// Whether the request asks for a tunnel.
    pub(super) fn is_connect(&self) -> bool {
        matches!(self.request, Request::Connect | Request::Extended)
    }
}

/// All open streams of a connection, found by number.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Numbers and slots, in the order of numbers.
    order: Vec<(u32, u32)>,
    slots: Vec<Option<Stream>>,
    free: Vec<u32>,
    /// Those that were blocked and can go on, each once.
    ready: VecDeque<u32>,
}

/// Slots whose memory is kept when no stream is open.
const SLOTS_KEPT: usize = 4;

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Adds a stream, whose number is above all others'.
    pub(super) fn insert(&mut self, stream: Stream) {
        let id = stream.id;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(stream);
            self.order.push((id, slot));
        }
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        let slot = self.slot_of(id)?;
        self.slots.get_mut(slot)?.as_mut()
    }

    /// [`Self::get`], to look at.
    pub(super) fn look(&self, id: u32) -> Option<&Stream> {
        self.slots.get(self.slot_of(id)?)?.as_ref()
    }

    fn slot_of(&self, id: u32) -> Option<usize> {
        let slot = match self.order.last() {
            Some((last, slot)) if *last == id => *slot,
            _ => {
                let at = self.order.binary_search_by_key(&id, |(id, _)| *id).ok()?;
                self.order.get(at)?.1
            }
        };
        Some(slot as usize)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Stream> {
        let at = self.order.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let (_, slot) = self.order.remove(at);
        let stream = self.slots.get_mut(slot as usize)?.take();
        self.free.push(slot);
        if stream.as_ref().is_some_and(|stream| stream.queued) {
            self.ready.retain(|ready| *ready != id);
        }
        if self.order.is_empty() {
            self.rest();
        }
        stream
    }

    /// No stream is open: keeps memory for a few.
    fn rest(&mut self) {
        self.ready.clear();
        if self.slots.len() > SLOTS_KEPT {
            *self = Self::default();
        }
    }

    /// The open stream with the highest number, if that is above `id`.
    pub(super) fn last_above(&self, id: u32) -> Option<u32> {
        self.order
            .last()
            .map(|(last, _)| *last)
            .filter(|last| *last > id)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().flatten()
    }

    /// Notes that `id` could not send all it has.
    pub(super) fn block(&mut self, id: u32) {
        if let Some(stream) = self.get(id) {
            stream.blocked = true;
            self.make_ready(id);
        }
    }

    /// Queues `id` if it is blocked by nothing of its own.
    pub(super) fn make_ready(&mut self, id: u32) {
        if let Some(stream) = self.get(id)
            && stream.blocked
            && !stream.queued
            && stream.send.open() > 0
        {
            stream.queued = true;
            self.ready.push_back(id);
        }
    }

    /// The windows of all have moved.
    pub(super) fn make_all_ready(&mut self) {
        let Self { slots, ready, .. } = self;
        for stream in slots.iter_mut().flatten() {
            if stream.blocked && !stream.queued && stream.send.open() > 0 {
                stream.queued = true;
                ready.push_back(stream.id);
            }
        }
    }

    /// The next that was blocked and can go on; it is not blocked any more.
    pub(super) fn next_ready(&mut self) -> Option<u32> {
        while let Some(id) = self.ready.pop_front() {
            let Some(stream) = self.get(id) else {
                continue;
            };
            stream.queued = false;
            if stream.blocked && stream.send.open() > 0 {
                stream.blocked = false;
                return Some(id);
            }
        }
        None
    }
}
