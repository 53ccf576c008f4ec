//! Who is connected and how far each is: intended, sent, acknowledged, refused; and waiting for a revision.

mod board;
mod progress;

pub use self::board::{ProxyStatus, StatusBoard, StreamStatus};
pub use self::progress::{ProxyProgress, ProxyState, Waiting};

pub(crate) use self::board::{BoardGuard, Inspect};
