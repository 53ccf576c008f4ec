//! How fast certificates are signed: `signing WEFT [REQUESTS]` starts `WEFT serve` with a store of its own, and asks it for
//! certificates by a join token without TLS, and then by a certificate with TLS, from 64 askers on four connections each time.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rcgen::KeyPair;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};
use weft_tests::workload::{Workload, create, plain, request, secure};

/// Who asks at the same time.
const ASKERS: usize = 64;

/// Connections that they share.
const CONNECTIONS: usize = 4;

/// Certificates of one run, where nothing else is said; a join token can be used as often.
const REQUESTS: usize = 10_000;

/// Bound on the start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Ticks of a processor's time in a second, as `/proc` counts them (`USER_HZ`).
const TICKS: f64 = 100.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (program, count) = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [program] => (PathBuf::from(program), REQUESTS),
        [program, count] => (PathBuf::from(program), count.parse()?),
        _ => bail!("usage: signing WEFT [REQUESTS]"),
    };
    ensure!(
        (1..=REQUESTS).contains(&count),
        "from 1 to {REQUESTS} requests"
    );
    let requests = (0..count).map(|_| request(&KeyPair::generate()?, &[]));
    let requests: Arc<[String]> = requests.collect::<anyhow::Result<Vec<_>>>()?.into();
    let folder = tempfile::tempdir()?;
    let weft = Weft::start(program, folder.path()).await?;
    weft.tell("at rest")?;

    let token = weft.token(count).await?;
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(plain(weft.plain.parse()?).await?);
    }
    weft.measure(
        "by join token, without TLS",
        &requests,
        async |asker, request| {
            let channel = channels
                .get(asker % CONNECTIONS)
                .context("a channel")?
                .clone();
            Ok(create(channel, request, Some(&token), 0).await.map(drop)?)
        },
    )
    .await?;

    let first = plain(weft.plain.parse()?).await?;
    let workload = Workload::join(first, &weft.token(1).await?, 0).await?;
    let roots = std::fs::read_to_string(folder.path().join("ca/root-cert.pem"))?;
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(secure(weft.secure.parse()?, &roots, Some(&workload)).await?);
    }
    weft.measure(
        "by certificate, with TLS",
        &requests,
        async |asker, request| {
            let channel = channels
                .get(asker % CONNECTIONS)
                .context("a channel")?
                .clone();
            Ok(create(channel, request, None, 0).await.map(drop)?)
        },
    )
    .await
}

/// A control plane that is measured. It is killed with this guard.
struct Weft {
    program: PathBuf,
    process: Child,
    plain: String,
    secure: String,
    api: String,
}

impl Weft {
    async fn start(program: PathBuf, folder: &Path) -> anyhow::Result<Self> {
        let any = "127.0.0.1:0";
        let mut process = Command::new(&program)
            .args(["serve", "--log-level", "error", "--xds-listen", any])
            .args(["--secure-listen", any, "--api-listen", any, "--store"])
            .arg(folder.join("store.redb"))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let mut lines = BufReader::new(process.stderr.take().context("a pipe")?).lines();
        let line = timeout(START_TIMEOUT, lines.next_line()).await??;
        let line = line.context("it ended")?;
        let parts = line.strip_prefix("xDS on ").and_then(|rest| {
            let (plain, rest) = rest.split_once(", with TLS on ")?;
            let (secure, api) = rest.split_once(", HTTP API on ")?;
            Some([plain, secure, api].map(str::to_owned))
        });
        let [plain, secure, api] = parts.with_context(|| format!("it said {line:?}"))?;
        Ok(Self {
            program,
            process,
            plain,
            secure,
            api,
        })
    }

    /// A join token that can be used this often.
    async fn token(&self, uses: usize) -> anyhow::Result<String> {
        let made = Command::new(&self.program)
            .args(["--server", &self.api, "token", "create", "--uses"])
            .arg(uses.to_string())
            .args(["--service-account", "default/bench"])
            .output()
            .await?;
        ensure!(made.status.success(), "{made:?}");
        Ok(String::from_utf8(made.stdout)?.trim().to_owned())
    }

    /// Asks for all of `requests`, and tells how that went.
    async fn measure(
        &self,
        name: &str,
        requests: &[String],
        ask: impl AsyncFn(usize, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (started, before) = (Instant::now(), self.processor_seconds()?);
        let next = AtomicUsize::new(0);
        let asker = async |asker: usize| -> anyhow::Result<()> {
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                ask(asker, request).await?;
            }
            Ok(())
        };
        futures_util::future::try_join_all((0..ASKERS).map(asker)).await?;
        let (took, spent) = (started.elapsed(), self.processor_seconds()? - before);
        let count = requests.len() as f64;
        println!(
            "{name}: {:.0} certificates a second, {:.0} µs of processor time each",
            count / took.as_secs_f64(),
            spent * 1e6 / count
        );
        self.tell("after that")
    }

    /// Tells how much memory is resident.
    fn tell(&self, when: &str) -> anyhow::Result<()> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
        let kib = line.and_then(|it| it.trim().strip_suffix(" kB"));
        let kib: f64 = kib.context("VmRSS in kB")?.trim().parse()?;
        println!("{when}: {:.1} MiB resident", kib / 1024.0);
        Ok(())
    }

    fn processor_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()?))?;
        let (_, fields) = stat.rsplit_once(')').context("a name in brackets")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || -> anyhow::Result<f64> { Ok(fields.next().context("times")?.parse()?) };
        Ok((ticks()? + ticks()?) / TICKS)
    }

    fn id(&self) -> anyhow::Result<u32> {
        self.process.id().context("it has ended")
    }
}
