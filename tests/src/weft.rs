//! The real `weft`: a control plane as a process, and commands against it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::process::built;

/// Bound on the start, and on one command.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A running `weft serve` with a database of its own. It is killed with this guard.
pub struct Weft {
    xds: SocketAddr,
    secure: SocketAddr,
    api: String,
    process: Child,
    said: Arc<Mutex<Vec<String>>>,
    store: TempDir,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Weft {
    /// Starts `weft serve` on free ports of loopback, with these arguments besides.
    ///
    /// # Errors
    /// If it cannot be started, or does not say within 60 s where it listens.
    pub async fn serve(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start(Command::new(built("weft")?), arguments).await
    }

    /// As [`Self::serve`], for a process that may open `descriptors` and no more.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub async fn serve_within(descriptors: u64, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh"])
            .arg(descriptors.to_string())
            .arg(built("weft")?);
        Self::start(shell, arguments).await
    }

    async fn start(mut weft: Command, arguments: &[&str]) -> anyhow::Result<Self> {
        let store = tempfile::tempdir()?;
        let mut process = weft
            .args(["serve", "--xds-listen", "127.0.0.1:0"])
            .args(["--secure-listen", "127.0.0.1:0"])
            .args(["--api-listen", "127.0.0.1:0"])
            .env("WEFT_LOG_LEVEL", "error") // for those that are not given another by an argument
            .arg("--store")
            .arg(store.path().join("store.redb"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting weft serve")?;
        let mut lines = BufReader::new(process.stderr.take().context("a pipe")?).lines();
        let said = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&said);
        let place = async {
            while let Some(line) = lines.next_line().await? {
                if let Some((xds, rest)) = line
                    .strip_prefix("xDS on ")
                    .and_then(|rest| rest.split_once(", with TLS on "))
                    && let Some((secure, api)) = rest.split_once(", HTTP API on ")
                {
                    return Ok((xds.parse()?, secure.parse()?, api.to_owned()));
                }
                eprintln!("weft serve: {line}");
                said.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
            bail!("weft serve ended")
        };
        let (xds, secure, api) = tokio::time::timeout(TIMEOUT, place)
            .await
            .context("weft serve does not say where it listens")??;
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("weft serve: {line}");
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.push(line);
            }
        });
        Ok(Self {
            xds,
            secure,
            api,
            process,
            said,
            store,
        })
    }

    /// Where xDS is served.
    pub fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// Where xDS and certificate signing are served with TLS.
    pub fn secure(&self) -> SocketAddr {
        self.secure
    }

    /// The URL of the HTTP API.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The folder that its store, and by default its certificate authority in `ca`, lie in.
    pub fn folder(&self) -> &Path {
        self.store.path()
    }

    /// PEM of the roots that it trusts at its start.
    ///
    /// # Errors
    /// If its authority is elsewhere.
    pub fn roots(&self) -> anyhow::Result<String> {
        let path = self.folder().join("ca/root-cert.pem");
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.join("\n")
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        crate::process::signal(&self.process, signal)
    }

    /// Runs `weft` with these arguments against this control plane, `input` on its standard input.
    ///
    /// # Errors
    /// If it cannot be started, or has not ended after 60 s.
    pub async fn run(&self, arguments: &[&str], input: &str) -> anyhow::Result<Ended> {
        let mut command = Command::new(built("weft")?);
        command.args(["--server", &self.api]).args(arguments);
        finish(command, input).await
    }
}

/// Runs `weft` with these arguments and no control plane.
///
/// # Errors
/// As [`Weft::run`].
pub async fn run(arguments: &[&str], input: &str) -> anyhow::Result<Ended> {
    let mut command = Command::new(built("weft")?);
    command.args(arguments);
    finish(command, input).await
}

async fn finish(mut command: Command, input: &str) -> anyhow::Result<Ended> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let mut pipe = child.stdin.take().context("a pipe")?;
    let whole = async {
        // A command that reads no input may have ended already.
        let _ = pipe.write_all(input.as_bytes()).await;
        drop(pipe);
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(TIMEOUT, whole)
        .await
        .with_context(|| format!("{command:?} has not ended after {TIMEOUT:?}"))??;
    Ok(Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}
