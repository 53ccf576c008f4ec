//! The command line of `weft`: one file per subcommand.
//!
//! Everything but `serve`, `demo`, `lint`, `explain` and `completion` talks to a control plane over its HTTP API.
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage.

mod apply;
mod authz;
mod certs;
pub mod client;
mod delete;
mod demo;
mod describe;
mod duration;
mod explain;
mod get;
mod history;
mod lint;
mod manifest;
mod output;
mod proxies;
mod proxy;
mod serve;
mod split;
mod subject;
mod token;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::client::Client;
pub use self::output::OutputFormat;
pub(crate) use self::output::yaml;
use crate::api::model::ErrorBody;

/// Weft: a service mesh. Control plane and command line.
#[derive(Debug, Parser)]
#[command(
    name = "weft",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand understands.
#[derive(Debug, Args)]
struct Global {
    /// The control plane's HTTP API.
    #[arg(
        long,
        global = true,
        env = "WEFT_SERVER",
        default_value = "http://127.0.0.1:15014",
        value_parser = server_url,
        value_name = "URL"
    )]
    server: String,
    /// Token for the HTTP API; needed for anything but loopback. Of `serve`: one with which everything may be done.
    #[arg(
        long,
        global = true,
        env = "WEFT_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
    /// How results are written.
    #[arg(
        short = 'o',
        long = "output",
        global = true,
        env = "WEFT_OUTPUT",
        value_enum,
        default_value_t
    )]
    output: OutputFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A whole mesh on this machine in one command: services, sidecars, traffic, a canary.
    Demo(demo::Demo),
    /// Run the control plane.
    Serve(Box<serve::Serve>),
    /// Validate objects, store them as one revision, and wait until the proxies concerned have acknowledged it.
    Apply(apply::Apply),
    /// List objects, services, endpoints, proxies or revisions.
    Get(get::Get),
    /// Everything about one object or service on one page.
    Describe(describe::Describe),
    /// Delete objects, as one revision.
    Delete(delete::Delete),
    /// What `apply` would change.
    Diff(apply::Diff),
    /// Check files without a control plane: all faults and warnings, with their places.
    Lint(lint::Lint),
    /// Revisions: when, who, what.
    History(history::History),
    /// Back to an earlier revision, as a new one.
    Rollback(history::Rollback),
    /// Set the weights of a route: `weft split reviews reviews-v1=90 reviews-v2=10`.
    Split(split::Split),
    /// Who is connected, and which revision each proxy has.
    Proxies(proxies::Proxies),
    /// The live state of one proxy.
    Proxy(proxy::Proxy),
    /// Certificates that were issued: to whom, until when, and by which proof.
    Certs(certs::Certs),
    /// Join tokens, which a workload shows once to get a certificate, and tokens of the API.
    Token(token::Token),
    /// Who may call whom, and which rule says so.
    Authz(authz::Authz),
    /// What a response flag means and what to check.
    Explain(explain::Explain),
    /// A completion script for your shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Progressive delivery (not built yet).
    #[command(hide = true)]
    Canary(NotBuilt),
    /// Live rates per service (not built yet).
    #[command(hide = true)]
    Top(NotBuilt),
    /// Live requests (not built yet).
    #[command(hide = true)]
    Tap(NotBuilt),
    /// Add the sidecar to Kubernetes manifests (not built yet).
    #[command(hide = true)]
    Inject(NotBuilt),
    /// Print what Kubernetes needs to run the control plane (not built yet).
    #[command(hide = true)]
    Install(NotBuilt),
    /// Print what `install` made, for deletion (not built yet).
    #[command(hide = true)]
    Uninstall(NotBuilt),
    /// Open the web page of the control plane (not built yet).
    #[command(hide = true)]
    Dashboard(NotBuilt),
}

/// A command that this version refuses, whatever its words.
#[derive(Debug, Args)]
struct NotBuilt {
    /// Anything.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _words: Vec<String>,
}

/// Parses the process's arguments, runs the command, and says with which code to exit.
pub fn main() -> ExitCode {
    let cli = Cli::parse(); // exits with 2 on wrong usage
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weft: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let output = cli.global.output;
    match runtime.block_on(cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(refused) = error.downcast_ref::<ErrorBody>() {
                // Programs read why on standard output, people below; where it is gone there is nobody to tell.
                let _ = output.print_structured(refused);
            }
            eprintln!("weft: {error:#}");
            match error.downcast_ref::<WrongUsage>() {
                Some(_) => ExitCode::from(2),
                None => ExitCode::FAILURE,
            }
        }
    }
}

impl Cli {
    async fn run(self) -> anyhow::Result<()> {
        let Global {
            server,
            token,
            output,
        } = self.global;
        let client = || Client::new(&server, token.as_deref());
        match &self.command {
            Command::Demo(demo) => demo::run(demo, output).await,
            Command::Serve(serve) => serve::run(serve, token).await,
            Command::Apply(apply) => apply::run(apply, &client()?, output).await,
            Command::Get(get) => get::run(get, &client()?, output).await,
            Command::Describe(describe) => describe::run(describe, &client()?, output).await,
            Command::Delete(delete) => delete::run(delete, &client()?, output).await,
            Command::Diff(diff) => apply::diff(diff, &client()?, output).await,
            Command::Lint(lint) => lint::run(lint, output),
            Command::History(history) => history::history(history, &client()?, output).await,
            Command::Rollback(rollback) => history::rollback(rollback, &client()?, output).await,
            Command::Split(split) => split::run(split, &client()?, output).await,
            Command::Proxies(proxies) => proxies::run(proxies, &client()?, output).await,
            Command::Proxy(proxy) => proxy::run(proxy, &client()?, output).await,
            Command::Certs(certs) => certs::run(certs, &client()?, output).await,
            Command::Token(token) => token::run(token, &client()?, output).await,
            Command::Authz(authz) => authz::run(authz, client, output).await,
            Command::Explain(explain) => explain::run(explain, output),
            Command::Completion { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut Self::command(), "weft", &mut script);
                Ok(std::io::stdout().write_all(&script)?)
            }
            Command::Canary(_) => not_built("canary"),
            Command::Top(_) => not_built("top"),
            Command::Tap(_) => not_built("tap"),
            Command::Inject(_) => not_built("inject"),
            Command::Install(_) => not_built("install"),
            Command::Uninstall(_) => not_built("uninstall"),
            Command::Dashboard(_) => not_built("dashboard"),
        }
    }
}

/// Options that are each in order and cannot be given together, or not for this.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUsage(String);

fn server_url(text: &str) -> Result<String, String> {
    client::parse_server(text).map(|_| text.to_owned())
}

fn not_built(command: &str) -> anyhow::Result<()> {
    anyhow::bail!("`weft {command}` is not part of this version yet")
}

/// Whether somebody closed our output, as `weft … | head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// From here on SIGHUP ends nothing: what is watched is followed by itself.
fn ignore_hangup() {
    use tokio::signal::unix::{SignalKind, signal};

    // Whoever has listened to a signal once is not ended by it any more.
    if let Err(error) = signal(SignalKind::hangup()) {
        tracing::warn!(%error, "SIGHUP ends this process");
    }
}

/// Resolves at Ctrl-C or SIGTERM.
///
/// A process that cannot hear its signals is ended by them, so there is nothing left to wait for.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};

    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
