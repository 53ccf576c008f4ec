//! What a simulated peer sends on HTTP/2, within what it is allowed.

use fastrand::Rng;

use super::end::{End, Fields, Ping, Settings, UNTOLD};
use super::frames;

impl End {
    /// Everything that is to be sent now and was not.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
    }

    /// Settings that hold from when the proxy has acknowledged them.
    pub(super) fn tell(&mut self, settings: Settings) {
        let mut payload = Vec::new();
        let mut put = |name: u16, value: usize| {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&u32::try_from(value).unwrap().to_be_bytes());
        };
        let bounded = |settings: &Settings| settings.streams_max != usize::MAX;
        // A bound that was told holds until another is.
        if self.origin && (bounded(&settings) || self.told.iter().any(bounded)) {
            put(3, settings.streams_max.min(u32::MAX as usize));
        }
        if self.origin {
            put(8, 1);
        }
        put(4, usize::try_from(settings.window).unwrap());
        put(5, settings.frame_max);
        frames::put(&mut self.out, frames::SETTINGS, 0, 0, &payload);
        self.told.push_back(settings);
    }

    /// What was told last.
    pub(super) fn last_told(&self) -> Settings {
        *self.told.back().unwrap()
    }

    /// The proxy's settings, as far as they came.
    pub(super) fn proxy(&self) -> Settings {
        self.proxy.unwrap_or(UNTOLD)
    }

    /// A field block, in one frame or in several; perhaps with padding.
    pub(super) fn head(&mut self, rng: &mut Rng, id: u32, fields: &Fields, end: bool) {
        let block = frames::block(fields);
        let end_flag = if end { frames::END_STREAM } else { 0 };
        let cut = if rng.u8(..4) == 0 && block.len() > 2 {
            rng.usize(1..block.len())
        } else {
            block.len()
        };
        let (first, rest) = block.split_at(cut);
        let whole = if rest.is_empty() {
            frames::END_HEADERS
        } else {
            0
        };
        let (padded, payload) = padded(rng, first);
        frames::put(
            &mut self.out,
            frames::HEADERS,
            end_flag | whole | padded,
            id,
            &payload,
        );
        if !rest.is_empty() {
            let flags = frames::END_HEADERS;
            frames::put(&mut self.out, frames::CONTINUATION, flags, id, rest);
        }
        self.streams.get_mut(&id).unwrap().done |= end;
    }

    /// How much DATA may be sent on a stream now.
    pub(super) fn room(&self, id: u32) -> usize {
        let stream = &self.streams[&id];
        let own = self.proxy().window + stream.credited - stream.sent;
        let room = own.min(self.open()).max(0);
        usize::try_from(room).unwrap().min(self.proxy().frame_max)
    }

    /// Sends some of `bytes`, of which there are no more where `last` says so. How many were sent.
    pub(super) fn data(&mut self, rng: &mut Rng, id: u32, bytes: &[u8], last: bool) -> usize {
        let room = self.room(id);
        let n = match rng.u8(..4) {
            0 => rng.usize(0..20),
            1 => rng.usize(0..2000),
            _ => bytes.len(),
        };
        let n = n.max(1).min(bytes.len()).min(room);
        if n == 0 && !(last && bytes.is_empty()) {
            return 0;
        }
        let (mut flags, mut payload) = (0, bytes[..n].to_vec());
        if n + 20 <= room {
            (flags, payload) = padded(rng, &bytes[..n]);
        }
        // The end may come with the last bytes or behind them.
        let ends = last && n == bytes.len() && (n == 0 || rng.bool());
        if ends {
            flags |= frames::END_STREAM;
        }
        frames::put(&mut self.out, frames::DATA, flags, id, &payload);
        let length = i64::try_from(payload.len()).unwrap();
        self.data_sent += length;
        let stream = self.streams.get_mut(&id).unwrap();
        stream.sent += length;
        stream.done |= ends;
        n
    }

    pub(super) fn reset(&mut self, id: u32, code: u32) {
        let payload = code.to_be_bytes();
        frames::put(&mut self.out, frames::RST_STREAM, 0, id, &payload);
        self.streams.get_mut(&id).unwrap().given_up = true;
    }

    /// Asks for an answer, which proves that everything before was heard.
    pub(super) fn ping(&mut self, number: u64) {
        frames::put(&mut self.out, frames::PING, 0, 0, &number.to_be_bytes());
        let over = self.streams.iter().filter(|(_, it)| it.is_over());
        self.pings.push_back(Ping {
            number,
            over: over.map(|(id, _)| *id).collect(),
            leaving: self.last.is_some(),
        });
    }

    /// Takes no stream above `last`; what is there of them is forgotten.
    pub(super) fn leave(&mut self, last: u32, code: u32) {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        frames::put(&mut self.out, frames::GOAWAY, 0, 0, &payload);
        if last < i32::MAX as u32 {
            self.last = Some(last);
        }
    }

    pub(super) fn is_origin(&self) -> bool {
        self.origin
    }

    /// What means nothing any more (RFC 9113 §5.3.2).
    pub(super) fn priority(&mut self, id: u32) {
        frames::put(&mut self.out, frames::PRIORITY, 0, id, &[0, 0, 0, 0, 9]);
    }

    /// Lets the proxy send more, up to `goal` at a time, once half of it is used: who says so more often than there is data
    /// meets a bound (RFC 9113 §10.5). Whether anything was to be said.
    pub(super) fn credit(&mut self, rng: &mut Rng, goal: i64, connection_goal: i64) -> bool {
        let open = self.given - self.got;
        if open <= connection_goal / 2 {
            let missing = connection_goal - open;
            self.given += missing;
            self.update(0, missing);
            return true;
        }
        let window = self.last_told().window;
        let wanting = self
            .streams
            .iter_mut()
            .filter(|(_, it)| !it.ended && !it.is_over());
        let mut wanting: Vec<_> = wanting
            .filter(|(_, it)| window + it.updates - it.got <= goal / 2)
            .collect();
        if wanting.is_empty() {
            return false;
        }
        let at = rng.usize(..wanting.len());
        let (id, stream) = &mut wanting[at];
        let missing = goal - (window + stream.updates - stream.got);
        let by = match rng.u8(..4) {
            0 if stream.got > 0 => rng.i64(1..=missing),
            _ => missing,
        };
        stream.updates += by;
        let id = **id;
        self.update(id, by);
        true
    }

    fn update(&mut self, id: u32, by: i64) {
        let by = u32::try_from(by).unwrap().to_be_bytes();
        frames::put(&mut self.out, frames::WINDOW_UPDATE, 0, id, &by);
    }
}

/// Sometimes with padding, and the flag that says so.
fn padded(rng: &mut Rng, bytes: &[u8]) -> (u8, Vec<u8>) {
    if rng.u8(..5) != 0 {
        return (0, bytes.to_vec());
    }
    let padding = rng.u8(..19);
    let mut payload = vec![padding];
    payload.extend_from_slice(bytes);
    payload.extend(std::iter::repeat_n(0, usize::from(padding)));
    (frames::PADDED, payload)
}
