//! The real Envoy as a process of a test.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context as _;
use tokio::process::{Child, Command};

/// A running Envoy, with one worker. It ends with this.
#[derive(Debug)]
pub struct Envoy {
    _child: Child,
}

impl Envoy {
    /// Starts `program` with a bootstrap, which is written to `folder` as `NAME.yaml`; what Envoy says goes to `NAME.log`.
    ///
    /// # Errors
    /// If a file cannot be written, or the program not be started.
    pub fn start(
        program: &Path,
        folder: &Path,
        name: &str,
        bootstrap: &str,
    ) -> anyhow::Result<Self> {
        let file = folder.join(format!("{name}.yaml"));
        std::fs::write(&file, bootstrap)?;
        let log = std::fs::File::create(folder.join(format!("{name}.log")))?;
        let child = Command::new(program)
            .args(["-c".as_ref(), file.as_os_str()])
            .args(["--concurrency", "1", "-l", "warning"])
            .arg("--disable-hot-restart")
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("starting Envoy")?;
        Ok(Self { _child: child })
    }
}

/// A port of loopback that was free a moment ago: Envoy cannot be handed a socket.
///
/// # Errors
/// If there is none.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
