//! Who keeps how many connections, and the way to hand one over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::listener::Parcel;

/// The workers as they see each other.
#[derive(Debug)]
pub(crate) struct Seats(Vec<Seat>);

#[derive(Debug)]
struct Seat {
    load: Arc<Load>,
    handover: mpsc::Sender<Parcel>,
}

/// Connections that one worker keeps.
#[derive(Debug, Default)]
pub(crate) struct Load(AtomicUsize);

impl Load {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sockets on their way to one worker.
const HANDOVER_QUEUE: usize = 256;

/// A worker keeps what it accepts while it has at most this many connections more than the least loaded one…
const HANDOVER_SLACK: usize = 16;

/// …and the least loaded one's count divided by this on top. The kernel spreads new connections by hash, which is even
/// enough; what is evened out is what long-lived connections pile up.
const HANDOVER_SHARE: usize = 4;

impl Seats {
    /// Seats for `count` workers, and the receiving end of each.
    pub(crate) fn new(count: usize) -> (Self, Vec<mpsc::Receiver<Parcel>>) {
        let (seats, receivers) = (0..count)
            .map(|_| {
                let (handover, receiver) = mpsc::channel(HANDOVER_QUEUE);
                (
                    Seat {
                        load: Arc::default(),
                        handover,
                    },
                    receiver,
                )
            })
            .unzip();
        (Self(seats), receivers)
    }

    /// Which worker is to keep a connection that worker `here` accepted.
    pub(crate) fn keeper(&self, here: usize) -> usize {
        let loads = self.0.iter().map(|seat| seat.load.get()).enumerate();
        let Some((least_at, least)) = loads.min_by_key(|(_, load)| *load) else {
            return here;
        };
        let own = self.0.get(here).map_or(0, |seat| seat.load.get());
        if own > least + HANDOVER_SLACK + least / HANDOVER_SHARE {
            least_at
        } else {
            here
        }
    }

    /// The count of worker `index`.
    pub(crate) fn load(&self, index: usize) -> Arc<Load> {
        self.0
            .get(index)
            .map(|seat| seat.load.clone())
            .unwrap_or_default()
    }

    pub(crate) fn loads(&self) -> Vec<usize> {
        self.0.iter().map(|seat| seat.load.get()).collect()
    }

    /// Gives a connection to worker `to`; back if its queue is full.
    pub(crate) fn hand_over(&self, to: usize, parcel: Parcel) -> Result<(), Parcel> {
        let Some(seat) = self.0.get(to) else {
            return Err(parcel);
        };
        seat.handover
            .try_send(parcel)
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(parcel)
                | mpsc::error::TrySendError::Closed(parcel) => parcel,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_loads(loads: &[usize]) -> Seats {
        let (seats, _receivers) = Seats::new(loads.len());
        for (seat, load) in seats.0.iter().zip(loads) {
            seat.load.0.store(*load, Ordering::Relaxed);
        }
        seats
    }

    #[test]
    fn connections_are_handed_over_beyond_the_slack_only() {
        // loads, accepted by, kept by
        let table: &[(&[usize], usize, usize)] = &[
            (&[0], 0, 0),
            (&[1000], 0, 0),
            (&[16, 0], 0, 0),
            (&[17, 0], 0, 1),
            (&[0, 17], 0, 0),
            (&[141, 100], 0, 0),
            (&[142, 100], 0, 1),
            (&[500, 200, 100, 300], 3, 2),
        ];
        for (loads, here, keeper) in table {
            assert_eq!(
                with_loads(loads).keeper(*here),
                *keeper,
                "{loads:?} accepted by {here}"
            );
        }
    }
}
