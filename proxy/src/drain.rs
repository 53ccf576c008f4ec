//! Orderly stop: no new work, running work finishes, then exit.

pub mod state;

mod watch;

pub use state::{DrainTimes, Phase};
pub use watch::{Drain, DrainWatch, OpenConnection};

#[cfg(test)]
mod tests;
