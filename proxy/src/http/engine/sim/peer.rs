//! The other ends of simulated connections: clients and origins.

use fastrand::Rng;

use super::client::Client;
use super::http2;
use super::origin::Origin;
use super::plan::{Book, Manners};

/// Who is at the other end of a connection.
pub(super) enum Peer {
    Client(Client),
    Origin(Origin),
    Client2(http2::Client),
    Origin2(http2::Origin),
}

impl Peer {
    pub(super) fn is_client(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Client2(_))
    }

    /// Whether what it sends arrives undivided.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Origin(origin) if origin.whole)
    }

    /// Makes up its mind about what to send next. Whether there is something more.
    pub(super) fn think(&mut self, rng: &mut Rng, book: &mut Book) -> bool {
        match self {
            Self::Client(_) => false,
            // It may have been waiting for its own answer to be sent.
            Self::Origin(origin) => {
                if origin.over.is_none() && origin.unsent().is_empty() {
                    origin.look(&[], book, rng);
                }
                false
            }
            Self::Client2(client) => client.think(rng),
            Self::Origin2(origin) => origin.think(rng, book),
        }
    }

    /// Everything that is to be sent now and was not.
    pub(super) fn unsent(&mut self, rng: &mut Rng) -> &[u8] {
        match self {
            Self::Client(client) => client.unsent(rng),
            Self::Origin(origin) => origin.unsent(),
            Self::Client2(client) => client.unsent(),
            Self::Origin2(origin) => origin.unsent(),
        }
    }

    pub(super) fn sent(&mut self, n: usize) {
        match self {
            Self::Client(client) => client.sent(n),
            Self::Origin(origin) => origin.sent(n),
            Self::Client2(client) => client.sent(n),
            Self::Origin2(origin) => origin.sent(n),
        }
    }

    pub(super) fn reads(&self) -> bool {
        match self {
            Self::Client(client) => client.reads(),
            Self::Client2(client) => client.reads(),
            Self::Origin(_) | Self::Origin2(_) => true,
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8], rng: &mut Rng, book: &mut Book) {
        match self {
            Self::Client(client) => client.received(bytes),
            Self::Origin(origin) => origin.look(bytes, book, rng),
            Self::Client2(client) => client.received(bytes),
            Self::Origin2(origin) => origin.received(bytes, book, rng),
        }
    }

    /// The proxy closed, in order or not.
    pub(super) fn ended(&mut self, reset: bool) {
        match self {
            Self::Client(client) => client.ended(reset),
            Self::Client2(client) => client.ended(reset),
            Self::Origin(origin) => origin.ended(reset),
            Self::Origin2(_) => {}
        }
    }

    /// `told`: it knows that the proxy closed.
    pub(super) fn wish(&self, told: bool) -> Wish {
        match self {
            Self::Client(client) => client.wish(told),
            Self::Origin(origin) => origin.wish(told),
            Self::Client2(client) => client.wish(told),
            Self::Origin2(origin) => origin.wish(told),
        }
    }

    /// Whether its connection has become a tunnel.
    pub(super) fn in_tunnel(&self) -> bool {
        match self {
            Self::Client(client) => client.tunnel,
            Self::Origin(origin) => origin.tunnel.is_some(),
            Self::Client2(_) | Self::Origin2(_) => false,
        }
    }

    /// Whether it has heard everything that it waited for, and was told so where not.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Client(client) => client.is_done(),
            Self::Client2(client) => client.is_done(),
            Self::Origin(_) | Self::Origin2(_) => true,
        }
    }

    /// Whether the proxy owes it no acknowledgement.
    pub(super) fn is_acknowledged(&self) -> bool {
        match self {
            Self::Client2(client) => client.is_acknowledged(),
            Self::Origin2(origin) => origin.is_acknowledged(),
            Self::Client(_) | Self::Origin(_) => true,
        }
    }

    /// Whether it sends and reads all that there is.
    pub(super) fn is_tame(&self) -> bool {
        let manners = match self {
            Self::Client(client) => client.manners,
            Self::Client2(client) => client.manners,
            Self::Origin(_) | Self::Origin2(_) => return true,
        };
        matches!(manners, Manners::Good | Manners::HalfCloses)
    }

    /// Calls that it has begun to make, and the statuses of those that it has heard the end of.
    pub(super) fn calls(&self) -> (u64, &[u32]) {
        match self {
            Self::Client(client) => (client.calls_begun, &client.statuses),
            Self::Client2(client) => (client.calls_begun, &client.statuses),
            Self::Origin(_) | Self::Origin2(_) => (0, &[]),
        }
    }

    /// What went otherwise than it should have, where nothing fails.
    pub(super) fn complaints(&self) -> Vec<String> {
        match self {
            Self::Client(client) => client.refusals.clone(),
            Self::Client2(client) => client.complaints(),
            Self::Origin(_) | Self::Origin2(_) => Vec::new(),
        }
    }
}

/// What a peer wants done with its side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Stay,
    /// Nothing more will be sent.
    Shutdown,
    Close,
    Reset,
}
