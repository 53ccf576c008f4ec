//! The real `weft-proxy`, as a process that is looked at from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::get;
use crate::eventually::eventually_within;
use crate::process::built;

/// Bound of the start, on a machine that has much else to do.
const START: Duration = Duration::from_secs(60);

/// A running `weft-proxy`; it is killed with this guard.
pub struct ProxyProcess {
    process: Child,
    metrics: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
    _folder: TempDir,
}

impl ProxyProcess {
    /// Starts the one that Cargo built beside this test, with this bootstrap and these arguments besides.
    ///
    /// # Errors
    /// If it cannot be started.
    ///
    /// # Panics
    /// If it does not say within 60 s where its metrics are.
    pub async fn start(bootstrap: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_at(&built("weft-proxy")?, &[], bootstrap, arguments).await
    }

    /// As [`Self::start`], for a program that lies elsewhere and is run by another (`taskset`).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub async fn start_at(
        program: &Path,
        runner: &[&str],
        bootstrap: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bootstrap.yaml");
        std::fs::write(&file, bootstrap)?;
        let mut command = match runner {
            [runner, rest @ ..] => {
                let mut command = Command::new(runner);
                command.args(rest).arg(program);
                command
            }
            [] => Command::new(program),
        };
        command.arg("--bootstrap").arg(&file);
        Self::run(command, arguments, folder).await
    }

    /// Starts a sidecar with these arguments: the one that Cargo built beside this test.
    ///
    /// # Errors
    /// As [`Self::start`].
    ///
    /// # Panics
    /// As there.
    pub async fn sidecar(arguments: &[&str]) -> anyhow::Result<Self> {
        let command = Command::new(built("weft-proxy")?);
        Self::run(command, arguments, tempfile::tempdir()?).await
    }

    async fn run(
        mut command: Command,
        arguments: &[&str],
        folder: TempDir,
    ) -> anyhow::Result<Self> {
        let mut process = command
            .args(["--log-format", "json", "--admin-listen", "127.0.0.1:0"])
            .args(["--metrics-listen", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = follow(process.stderr.take().context("a pipe")?);
        let metrics = place(&log, "metrics").await;
        Ok(Self {
            process,
            metrics,
            log,
            _folder: folder,
        })
    }

    /// Where a listener is bound.
    ///
    /// # Panics
    /// If it is not within 60 s.
    pub async fn address_of(&self, listener: &str) -> SocketAddr {
        place(&self.log, listener).await
    }

    /// The page of metrics.
    ///
    /// # Errors
    /// If it cannot be had.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let page = get(self.metrics, "localhost", "/metrics").await?;
        ensure!(page.status() == 200, "{}", page.status());
        Ok(String::from_utf8(page.body().to_vec())?)
    }

    /// The sample of this name and these labels; 0 where there is none.
    ///
    /// # Errors
    /// If the page of metrics cannot be had, or the sample is no number.
    pub async fn sample(&self, name: &str) -> anyhow::Result<f64> {
        let page = self.metrics().await?;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.map_or(Ok(0.0), str::parse)?)
    }

    /// How often a bound was met.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub async fn limit_hits(&self, limit: &str) -> anyhow::Result<u64> {
        let name = format!("weft_limit_hits_total{{limit=\"{limit}\"}}");
        Ok(self.sample(&name).await? as u64)
    }

    /// Resident memory.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let id = self.process.id().context("it has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
        let kib = line.and_then(|it| it.split_whitespace().next());
        Ok(kib.context("no VmRSS")?.parse()?)
    }

    /// Asks it to end, as whoever runs it does: it drains first.
    ///
    /// # Errors
    /// If it is gone.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        crate::process::signal(&self.process, signal)
    }

    /// How many lines of the log hold so.
    pub fn logged(&self, holds: impl Fn(&Value) -> bool) -> usize {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|line| holds(line)).count()
    }
}

/// Keeps what is logged.
fn follow(pipe: tokio::process::ChildStderr) -> Arc<Mutex<Vec<Value>>> {
    let log: Arc<Mutex<Vec<Value>>> = Arc::default();
    let written = log.clone();
    tokio::spawn(async move {
        let mut lines = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
            let mut log = written.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(line);
        }
    });
    log
}

/// The address that the log gives for a role or a listener.
async fn place(log: &Mutex<Vec<Value>>, role: &str) -> SocketAddr {
    eventually_within(START, role, || {
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let field = |line: &Value, name: &str| line.get(name)?.as_str().map(str::to_owned);
        let address = log.iter().find_map(|line| {
            let of = field(line, "role")?;
            let named = field(line, "listener").is_some_and(|name| name == role);
            let address = field(line, "address")?;
            (of == role || named).then(|| address.parse().ok())?
        });
        std::future::ready(address.with_context(|| format!("{log:?}")))
    })
    .await
}
