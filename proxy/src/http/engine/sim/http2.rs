//! Peers that speak HTTP/2: frames, flow control and the states of streams are theirs, and checked.

mod client;
mod end;
mod frames;
mod origin;
mod send;

pub(super) use self::client::Client;
pub(super) use self::end::Fields;
pub(super) use self::origin::Origin;

use self::end::{End, Settings};
use fastrand::Rng;

use super::calls::Pairs;

/// How a peer deals with credit: how much may be under way on a stream and on the connection.
#[derive(Clone, Copy, Debug)]
struct Goals {
    stream: i64,
    connection: i64,
}

impl Goals {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            stream: *rng.choice(&[40, 1000, 10_000, 65_535, 300_000]).unwrap(),
            connection: *rng.choice(&[100, 20_000, 65_535, 1_000_000]).unwrap(),
        }
    }
}

/// Fields as frames take them.
fn owned(pairs: Pairs) -> impl Iterator<Item = (String, String)> {
    let pairs = pairs.into_iter();
    pairs.map(|(name, value)| (name.to_owned(), value))
}

fn draw_settings(rng: &mut Rng) -> Settings {
    Settings {
        window: *rng
            .choice(&[0, 1, 1000, 65_535, 65_535, 1_000_000])
            .unwrap(),
        frame_max: *rng.choice(&[16_384, 16_384, 16_500, 1_000_000]).unwrap(),
        streams_max: *rng.choice(&[1, 2, 10, 100, usize::MAX]).unwrap(),
        tunnels: true,
    }
}

impl End {
    /// Tells other settings than before, or asks for a sign of life.
    fn whim(&mut self, rng: &mut Rng) {
        match rng.u8(..4) {
            0 | 1 => return self.ping(rng.u64(..)),
            2 if !self.is_origin() => return self.priority(rng.u32(0..50) * 2 + 1),
            _ => {}
        }
        // Where nothing may be asked for, something may be later.
        let streams_max = self.last_told().streams_max;
        let mut settings = draw_settings(rng);
        if rng.u8(..3) == 0 && streams_max > 0 {
            settings.streams_max = 0;
        }
        self.tell(settings);
    }

    /// Whether the proxy has answered everything that it owes an answer to.
    fn is_answered(&self) -> bool {
        self.told.len() == 1 && self.pings.is_empty()
    }
}
