//! Who is connected and how far each is: intended, sent, acknowledged, refused; and waiting for a revision.

mod board;
mod progress;

#[cfg(test)]
mod tests;

pub use self::board::{ProxyStatus, StatusBoard, StreamStatus, TypeStatus};
pub use self::progress::{Progress, ProxyProgress, ProxyState, Waiting};

pub(crate) use self::board::{BoardGuard, Inspect};
