//! Processes that a test starts, and ends by their own guard.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Bound of one answer of a process.
const LINE_TIMEOUT: Duration = Duration::from_secs(20);

/// A program that reads commands on its standard input and answers in lines. It is killed with this guard.
pub struct Talker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Talker {
    /// Starts it with its standard error passed through.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let input = child.stdin.take().context("standard input is a pipe")?;
        let output =
            BufReader::new(child.stdout.take().context("standard output is a pipe")?).lines();
        Ok(Self {
            child,
            input,
            output,
        })
    }

    /// The next line that it writes.
    ///
    /// # Errors
    /// If it ends, or is silent for 20 s.
    pub async fn line(&mut self) -> anyhow::Result<String> {
        self.line_within(LINE_TIMEOUT).await
    }

    async fn line_within(&mut self, limit: Duration) -> anyhow::Result<String> {
        let line = tokio::time::timeout(limit, self.output.next_line())
            .await
            .with_context(|| format!("silent for {limit:?}"))??;
        line.with_context(|| format!("it ended: {:?}", self.child.try_wait()))
    }

    /// Sends one line and reads one.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub async fn ask(&mut self, line: &str) -> anyhow::Result<String> {
        self.ask_within(line, LINE_TIMEOUT).await
    }

    /// As [`Self::ask`], for an answer that takes its time.
    ///
    /// # Errors
    /// If it ends, or is silent for `limit`.
    pub async fn ask_within(&mut self, line: &str, limit: Duration) -> anyhow::Result<String> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        self.line_within(limit).await
    }
}

/// The program `name` that Cargo built beside this test.
///
/// # Errors
/// If it is not there: `cargo test --workspace` builds it, `cargo test -p weft-tests` alone does not.
pub fn built(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("the path of this test")?;
    let folder = test
        .parent()
        .and_then(Path::parent)
        .context("a test lies in target/PROFILE/deps")?;
    let program = folder.join(name);
    if !program.exists() {
        bail!(
            "{} is not there: run `cargo build --workspace` first",
            program.display()
        );
    }
    Ok(program)
}

/// Sends a signal to a process that a test has started.
pub(crate) fn signal(process: &Child, signal: Signal) -> anyhow::Result<()> {
    let id = process.id().context("it has ended")?;
    let id = Pid::from_raw(id.try_into()?).context("no process has this id")?;
    Ok(kill_process(id, signal)?)
}
