//! One `weft-proxy` process beside a workload of the demo.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

/// How long a sidecar may take to bind its ports, and then to get its tables.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a sidecar may finish what is running before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running sidecar.
pub(super) struct Sidecar {
    name: String,
    child: Child,
    addresses: Addresses,
    log: JoinHandle<()>,
}

/// Where a sidecar finds its mesh, and what it shows there.
pub(super) struct Joining {
    /// Where xDS and signing are served over TLS.
    pub(super) control_plane: String,
    /// The file with the mesh's roots.
    pub(super) trust_bundle: PathBuf,
    /// The token that proves which service it is.
    pub(super) token: String,
}

/// Where it listens, as it says itself.
#[derive(Default)]
struct Addresses {
    admin: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    outbound: Option<SocketAddr>,
    inbound: Option<SocketAddr>,
}

impl Sidecar {
    /// Starts the `weft-proxy` that lies beside this program.
    ///
    /// # Errors
    /// If it is not there, cannot be started, ends at once, or does not say where it listens.
    pub(super) async fn start(
        service: &str,
        version: &str,
        app_port: u16,
        joining: &Joining,
        state_dir: &Path,
    ) -> anyhow::Result<Self> {
        let program = program()?;
        if !program.exists() {
            bail!(
                "{} is not there: build both with `cargo build --release`",
                program.display()
            );
        }
        let mut command = Command::new(&program);
        command
            .args(arguments(service, version, app_port, joining))
            // Not an argument, which everybody on the machine could read.
            .env("WEFT_JOIN_TOKEN", &joining.token)
            .arg("--trust-bundle")
            .arg(&joining.trust_bundle)
            .arg("--state-dir")
            .arg(state_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C in a terminal goes to the whole foreground group: the sidecars end when we say so.
            .process_group(0);
        end_with_parent(&mut command);
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let stderr = child
            .stderr
            .take()
            .context("the sidecar's log is not a pipe")?;
        let mut lines = BufReader::new(stderr).lines();
        let name = format!("{service}-{version}");
        let addresses = tokio::time::timeout(START_TIMEOUT, Addresses::read(&mut lines))
            .await
            .with_context(|| {
                format!(
                    "the sidecar of {name} did not say where it listens within {START_TIMEOUT:?}"
                )
            })?
            .with_context(|| format!("starting the sidecar of {name}"))?;
        // The pipe is read to its end so that the sidecar never waits for us.
        let log = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            name,
            child,
            addresses,
            log,
        })
    }

    /// Waits until it has its tables.
    ///
    /// # Errors
    /// If it has none within 15 s.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        let status = Command::new(program()?)
            .args([
                "wait",
                "--timeout",
                "15s",
                "--metrics-listen",
                &self.metrics().to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await
            .with_context(|| format!("waiting for the sidecar of {}", self.name))?;
        if !status.success() {
            bail!("the sidecar of {} did not become ready", self.name);
        }
        Ok(())
    }

    /// Where its admin page is.
    pub(super) fn admin(&self) -> SocketAddr {
        self.addresses
            .admin
            .expect("start returns only with all addresses known")
    }

    /// Where it says whether it is ready, and what it counts.
    pub(super) fn metrics(&self) -> SocketAddr {
        self.addresses
            .metrics
            .expect("start returns only with all addresses known")
    }

    /// Where the workload sends what is for others.
    pub(super) fn outbound(&self) -> SocketAddr {
        self.addresses
            .outbound
            .expect("start returns only with all addresses known")
    }

    /// Where others send what is for the workload.
    pub(super) fn inbound(&self) -> SocketAddr {
        self.addresses
            .inbound
            .expect("start returns only with all addresses known")
    }

    /// Asks it to finish, and kills it if it does not.
    pub(super) async fn stop(mut self) {
        if let Some(pid) = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
        self.log.abort();
    }
}

impl Addresses {
    /// Reads the sidecar's log up to the last of its addresses.
    async fn read(log: &mut Lines<BufReader<ChildStderr>>) -> anyhow::Result<Self> {
        let mut addresses = Self::default();
        let mut seen = Vec::new();
        while let Some(line) = log.next_line().await? {
            if let Ok(entry) = serde_json::from_str::<Value>(&line) {
                addresses.note(&entry);
            }
            if addresses.are_known() {
                return Ok(addresses);
            }
            seen.push(line);
        }
        bail!("it ended, and said:\n{}", seen.join("\n"))
    }

    fn are_known(&self) -> bool {
        [self.admin, self.metrics, self.outbound, self.inbound]
            .iter()
            .all(Option::is_some)
    }

    fn note(&mut self, entry: &Value) {
        let field = |name: &str| {
            entry
                .get(name)
                .or_else(|| entry.pointer(&format!("/fields/{name}")))
                .and_then(Value::as_str)
        };
        let (Some("listening"), Some(role), Some(address)) =
            (field("message"), field("role"), field("address"))
        else {
            return;
        };
        let address = address.parse().ok();
        match role {
            "admin" => self.admin = address,
            "metrics" => self.metrics = address,
            "outbound" => self.outbound = address,
            "inbound" => self.inbound = address,
            _ => {}
        }
    }
}

/// The `weft-proxy` that lies beside this program.
fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    Ok(own.with_file_name("weft-proxy"))
}

/// A sidecar on free ports of loopback, which says in its log which they are.
fn arguments(service: &str, version: &str, app_port: u16, joining: &Joining) -> Vec<String> {
    let mut arguments = vec![
        format!("--control-plane={}", joining.control_plane),
        format!("--service={service}"),
        format!("--label=version={version}"),
        format!("--app-port={app_port}"),
    ];
    let fixed = [
        "--concurrency=1",
        "--address=127.0.0.1",
        "--drain-time=2s",
        "--outbound-listen=127.0.0.1:0",
        "--inbound-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--metrics-listen=127.0.0.1:0",
        "--log-format=json",
        "--log-level=info",
    ];
    arguments.extend(fixed.map(str::to_owned));
    arguments
}

/// Makes the kernel end the sidecar if this process dies without a word, so that even `kill -9` leaves nothing behind.
#[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
fn end_with_parent(command: &mut Command) {
    // SAFETY: the closure makes one system call (prctl) and allocates nothing, as code after fork must.
    unsafe {
        command.pre_exec(|| {
            Ok(rustix::process::set_parent_process_death_signal(Some(
                rustix::process::Signal::TERM,
            ))?)
        });
    }
}
