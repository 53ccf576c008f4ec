//! Flow-control windows (RFC 9113 §5.2, §6.9).

use crate::http::codec::ProtocolError;

/// What a window is until something else is told (RFC 9113 §6.9.2).
pub(super) const DEFAULT: u32 = 65_535;

/// The largest window (RFC 9113 §6.9.1).
pub(super) const MAX: u32 = (1 << 31) - 1;

/// What the peer lets us send.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendWindow(i32);

impl SendWindow {
    pub(super) fn new(size: u32) -> Self {
        Self(i32::try_from(size).unwrap_or(i32::MAX))
    }

    /// What may be sent now.
    pub(super) fn open(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.0 = self
            .0
            .saturating_sub(i32::try_from(bytes).unwrap_or(i32::MAX));
    }

    /// Moves the window: by a WINDOW_UPDATE, or by a change of the initial size, after which it may be below nothing
    /// (RFC 9113 §6.9.2).
    pub(super) fn shift(&mut self, by: i64) -> Result<(), ProtocolError> {
        self.0 =
            i32::try_from(i64::from(self.0) + by).map_err(|_| ProtocolError::WindowOverflow)?;
        Ok(())
    }
}

/// What we let the peer send.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiveWindow {
    /// What it may send now. Below nothing after a change of the initial size.
    open: i32,
    /// What was given back since the last WINDOW_UPDATE.
    due: u32,
}

impl ReceiveWindow {
    pub(super) fn new(size: u32) -> Self {
        Self {
            open: i32::try_from(size).unwrap_or(i32::MAX),
            due: 0,
        }
    }

    /// Takes bytes that the peer sent.
    pub(super) fn take(&mut self, bytes: u32) -> Result<(), ProtocolError> {
        if i64::from(bytes) > i64::from(self.open) {
            return Err(ProtocolError::WindowExceeded);
        }
        self.open -= bytes as i32;
        Ok(())
    }

    /// Gives bytes back; by how much to widen the window, when at least half of `size` is due.
    ///
    /// More is never given back than was taken.
    pub(super) fn give(&mut self, bytes: u32, size: u32) -> Option<u32> {
        let taken = i64::from(size) - i64::from(self.open) - i64::from(self.due);
        let bytes = i64::from(bytes).min(taken.max(0));
        self.due += bytes as u32;
        if self.due == 0 || self.due < size / 2 {
            return None;
        }
        let increment = std::mem::take(&mut self.due);
        self.open += increment as i32;
        Some(increment)
    }

    /// Follows a change of the initial size that the peer has acknowledged.
    pub(super) fn shift(&mut self, by: i64) {
        self.open = (i64::from(self.open) + by).clamp(i64::from(i32::MIN), i64::from(MAX)) as i32;
    }
}
