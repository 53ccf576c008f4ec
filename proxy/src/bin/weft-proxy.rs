//! The sidecar proxy of Weft.

use std::error::Error;
use std::io::{IsTerminal, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};
use weft_config::causes::with_causes;
use weft_proxy::app::cli::{
    Cli, CliError, Command, LogFormat, RedirectCommand, RunArgs, read_bootstrap,
};
use weft_proxy::app::{Proxy, SetLevel};
use weft_proxy::telemetry::LogFiles;

const REFUSED: u8 = 1;
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => run(&cli.run),
        Some(Command::Validate { bootstrap }) => match read_bootstrap(&bootstrap) {
            Ok(_) => {
                println!("{}: can be honoured", bootstrap.display());
                ExitCode::SUCCESS
            }
            Err(error) => refuse(&error, REFUSED),
        },
        Some(Command::Wait {
            timeout,
            metrics_listen,
        }) => wait(metrics_listen, timeout),
        Some(Command::Redirect { command }) => redirect(&command),
    }
}

fn redirect(command: &RedirectCommand) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, REFUSED),
    };
    match runtime.block_on(command.run()) {
        Ok(told) => {
            println!("{}", told.text.trim_end());
            ExitCode::from(if told.good { 0 } else { REFUSED })
        }
        Err(error) => refuse(&with_causes(&error), REFUSED),
    }
}

fn refuse(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("weft-proxy: {error}");
    ExitCode::from(code)
}

fn run(args: &RunArgs) -> ExitCode {
    let mut config = match args.config() {
        Ok(config) => config,
        Err(error @ CliError::Usage(_)) => return refuse(&error, WRONG_USAGE),
        Err(error @ CliError::Refused(_)) => return refuse(&error, REFUSED),
    };
    match log(args) {
        Ok(logging) => config.logging = Some(logging),
        Err(error) => return refuse(&format!("--log-level: {error}"), WRONG_USAGE),
    }
    raise_descriptors_max();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, REFUSED),
    };
    runtime.block_on(async {
        // From the first moment on, so that no signal is lost.
        let signals = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
            signal(SignalKind::hangup()),
            signal(SignalKind::user_defined1()),
        );
        let (Ok(mut terminate), Ok(mut interrupt), Ok(hangup), Ok(reopen)) = signals else {
            return refuse(&"signals cannot be listened to", REFUSED);
        };
        let mut running = match Proxy::start(config) {
            Ok(running) => running,
            Err(error) => return refuse(&with_causes(&error), REFUSED),
        };
        let drain = running.drain().clone();
        tokio::spawn(heed(hangup, reopen, running.metrics().logs.clone()));
        tokio::select! {
            () = running.ended() => return ExitCode::SUCCESS,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("draining");
        drain.quit();
        tokio::select! {
            () = running.ended() => ExitCode::SUCCESS,
            _ = interrupt.recv() => {
                error!("interrupted while draining");
                ExitCode::from(REFUSED)
            }
        }
    })
}

/// SIGHUP ends nothing: configuration that changes comes by itself. SIGUSR1 has access logs opened anew, as Envoy does.
async fn heed(mut hangup: Signal, mut reopen: Signal, logs: Arc<LogFiles>) {
    loop {
        tokio::select! {
            _ = hangup.recv() => info!("SIGHUP changes nothing"),
            _ = reopen.recv() => {
                let logs = logs.clone();
                let opened = tokio::task::spawn_blocking(move || logs.reopen()).await;
                match opened {
                    Ok(()) => info!("access logs are opened anew"),
                    Err(error) => error!(%error, "access logs are not opened anew"),
                }
            }
        }
    }
}

/// Lets the process open as many descriptors as it may: each connection takes two, and the soft limit, often 1024, is meant
/// for programs that use `select`.
fn raise_descriptors_max() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
        warn!(%error, "the limit of descriptors stays as it was");
    }
}

/// Begins to log; gives the handle by which `/logging` changes what is logged.
fn log(args: &RunArgs) -> Result<SetLevel, Box<dyn Error>> {
    let parse = |directives: &str| EnvFilter::builder().parse(directives);
    let (filter, handle) = reload::Layer::new(parse(&args.log_level)?);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match args.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()?;
    Ok(SetLevel(Arc::new(move |level| {
        if let Some(level) = level {
            weft_config::log_level::check(level).map_err(|error| format!("level {error}"))?;
            let filter = parse(level).map_err(|error| format!("level {level:?}: {error}"))?;
            handle.reload(filter).map_err(|error| error.to_string())?;
        }
        handle
            .with_current(ToString::to_string)
            .map_err(|error| error.to_string())
    })))
}

/// Asks `/ready` until it says yes.
fn wait(metrics: SocketAddr, timeout: Duration) -> ExitCode {
    const EVERY: Duration = Duration::from_millis(50);
    let mut address = metrics;
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, REFUSED),
    };
    runtime.block_on(async {
        let deadline = Instant::now() + timeout;
        loop {
            let last = match ready(address) {
                Ok(status) if status.contains(" 200 ") => return ExitCode::SUCCESS,
                Ok(status) => status,
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                let error = format!(
                    "http://{address}/ready said no for {timeout:?}, last: {}",
                    last.trim()
                );
                return refuse(&error, REFUSED);
            }
            sleep_until(Instant::now() + EVERY).await;
        }
    })
}

/// The status line of `/ready`.
fn ready(address: SocketAddr) -> std::io::Result<String> {
    const AT_MOST: Duration = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, AT_MOST)?;
    stream.set_read_timeout(Some(AT_MOST))?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
