//! The real peers, as `tests/peers/setup.sh` installs them.
//!
//! A test asks for its peer with [`find`]. Where it is not installed the test says so and passes, unless
//! `WEFT_REQUIRE_PEERS` is set, as it is in CI: then it fails.

use std::path::PathBuf;

use tokio::process::Command;

/// A peer that tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The real Envoy.
    Envoy,
    /// Python with gRPC C-core and its xDS client.
    GrpcPython,
    /// The ADS server made with go-control-plane.
    GoControlPlane,
}

impl Peer {
    /// Its place in the folder of peers.
    fn file(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::GrpcPython => "venv/bin/python",
            Self::GoControlPlane => "go-control-plane",
        }
    }
}

/// The program of `peer`; `None`, after saying so, where it is not installed.
///
/// # Panics
/// If it is not installed and `WEFT_REQUIRE_PEERS` is set.
pub fn find(peer: Peer) -> Option<PathBuf> {
    let program = folder().join(peer.file());
    if program.exists() {
        return Some(program);
    }
    let missing = format!(
        "{peer:?} is not at {}: run tests/peers/setup.sh",
        program.display()
    );
    assert!(
        std::env::var_os("WEFT_REQUIRE_PEERS").is_none(),
        "{missing}"
    );
    eprintln!("skipped: {missing}");
    None
}

/// A command that runs one of the Python scripts of `tests/peers`.
pub fn python(script: &str) -> Option<Command> {
    let mut command = Command::new(find(Peer::GrpcPython)?);
    command.arg(
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("peers")
            .join(script),
    );
    Some(command)
}

fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("WEFT_PEERS") {
        return folder.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    cache
        .unwrap_or_else(|| home.join(".cache"))
        .join("weft")
        .join("peers")
}
