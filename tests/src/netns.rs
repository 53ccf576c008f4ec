//! Network namespaces: machines of their own as far as the network goes. They need root.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::peers;
use crate::weft::Ended;

/// Bound on one command.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A network namespace, with its loopback up. It goes with this guard and the processes in it.
#[derive(Debug)]
pub struct Namespace {
    _holder: Child,
    id: u32,
}

impl Namespace {
    /// A new one; `None`, after saying so, where there may be none.
    ///
    /// # Errors
    /// If it cannot be made although there may be some.
    pub async fn new() -> anyhow::Result<Option<Self>> {
        if !peers::namespaces().await {
            return Ok(None);
        }
        // It says that it is there, and ends with its standard input, which ends with us.
        let script = "ip link set lo up && echo there && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut said = [0; 6];
        let stdout = holder.stdout.as_mut().context("a pipe")?;
        timeout(TIMEOUT, stdout.read_exact(&mut said)).await??;
        let id = holder.id().context("it lives")?;
        Ok(Some(Self {
            _holder: holder,
            id,
        }))
    }

    /// The process that keeps it, for `ip link … netns`.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A command in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.id.to_string())
            .args(["--net", "--"])
            .arg(program)
            .kill_on_drop(true);
        command
    }

    /// Runs a command in it to its end.
    ///
    /// # Errors
    /// If it cannot be run, or takes too long.
    pub async fn run<A: AsRef<OsStr>>(&self, line: &[A]) -> anyhow::Result<Ended> {
        self.run_with(line, "").await
    }

    /// As [`Self::run`], with this on its standard input.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_with<A: AsRef<OsStr>>(
        &self,
        line: &[A],
        input: &str,
    ) -> anyhow::Result<Ended> {
        let (program, args) = line.split_first().context("a command has a name")?;
        let mut command = self.command(program);
        command.args(args);
        ended(command, input).await
    }

    /// Runs commands of a shell in it, which must not fail; gives what they print.
    ///
    /// # Errors
    /// If one fails.
    pub async fn shell(&self, script: &str) -> anyhow::Result<String> {
        let ended = self.run(&["sh", "-ec", script]).await?;
        ensure!(ended.code == Some(0), "{script}: {ended:?}");
        Ok(ended.out)
    }
}

/// Runs a command to its end.
///
/// # Errors
/// If it cannot be run, or takes too long.
pub async fn ended(mut command: Command, input: &str) -> anyhow::Result<Ended> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let whole = async {
        // One that fails at once reads nothing.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        child.wait_with_output().await
    };
    let output = timeout(TIMEOUT, whole)
        .await
        .with_context(|| format!("{command:?} hangs"))??;
    Ok(Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
