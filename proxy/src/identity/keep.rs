//! Gets certificates, one after the other, for as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use weft_config::secret::{DataSource, SecretBytes, SecretKind, TlsCertificate};
use weft_config::tls::SecretName;

use super::authority::{NotSigned, Signed, sign};
use super::request::Request;
use super::{Identity, Proof, Shown, Standing, renewal};
use crate::clock::unix_now;
use crate::dns::Resolver;
use crate::telemetry::{IdentityResult, IdentityStats};
use crate::tls::{ClientContext, Secrets};
use crate::xds::channel;
use crate::xds::stream::{Addresses, Backoff, Target};

/// Largest file with a token.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// How often it is looked whether the wall clock is further than the one that timers go by.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What it takes to keep a certificate.
#[derive(Debug)]
pub struct Keeper {
    /// Who we are.
    pub identity: Identity,
    /// Where the control plane is.
    pub target: Target,
    /// Whether it is spoken to over TLS. Without, a token is all that proves who asks.
    pub tls: bool,
    /// How its name is resolved.
    pub resolver: Resolver,
    /// Where certificates are put.
    pub secrets: Arc<Secrets>,
    /// Where it is counted how requests ended.
    pub stats: Arc<IdentityStats>,
    /// Where it is told whether there is one.
    pub standing: Arc<Standing>,
}

impl Keeper {
    /// Puts in force whom we trust at first. Handshakes can be made from then on that show nothing.
    pub fn trust(&self) {
        let validation = SecretKind::Validation(Arc::new(self.identity.validation()));
        self.secrets.put(&SecretName::of_workload(), &validation);
    }
}

/// Keeps a certificate in force until dropped; `held` says how many there have been.
pub async fn keep(keeper: Keeper, held: watch::Sender<u64>) {
    let mut rng = fastrand::Rng::new();
    let mut state = State {
        contexts: Contexts::new(&keeper),
        addresses: Addresses::default(),
        expires: None,
        backoff: Backoff::default(),
    };
    loop {
        let pause = match state.renew(&keeper, &mut rng).await {
            Ok(lifetime) => {
                keeper.stats.count(IdentityResult::Issued);
                held.send_modify(|held| *held += 1);
                state.backoff = Backoff::default();
                state.addresses = Addresses::default();
                renewal::after(lifetime, rng.f64())
            }
            Err(error) => {
                keeper.stats.count(error.result());
                let valid = state.is_valid();
                warn!(%error, valid, "no certificate from the control plane");
                keeper.standing.failed(error.to_string());
                state.backoff.next(&mut rng)
            }
        };
        rest(pause).await;
    }
}

/// Waits for as long, by whichever clock is there first: while a machine sleeps, certificates grow old and the one that timers go by stands
/// still; and the other may be set.
async fn rest(pause: Duration) {
    let until = Instant::now() + pause;
    let whole_seconds = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
    let until_unix = unix_now().saturating_add(whole_seconds).saturating_add(1);
    while Instant::now() < until && unix_now() < until_unix {
        sleep_until(until.min(Instant::now() + LOOK_EVERY)).await;
    }
}

/// What is kept from one request to the next.
struct State {
    contexts: Option<Contexts>,
    addresses: Addresses,
    /// Last second of the certificate in force, since 1970.
    expires: Option<i64>,
    backoff: Backoff,
}

/// How the control plane is spoken to.
struct Contexts {
    known: Arc<ClientContext>,
    stranger: Arc<ClientContext>,
}

impl Contexts {
    fn new(keeper: &Keeper) -> Option<Self> {
        let context = |shown| {
            let config = keeper.identity.towards_control_plane(shown);
            keeper.secrets.client(&config)
        };
        keeper.tls.then(|| Self {
            known: context(Shown::Certificate),
            stranger: context(Shown::Nothing),
        })
    }
}

impl State {
    fn is_valid(&self) -> bool {
        self.expires.is_some_and(|expires| unix_now() < expires)
    }

    /// Gets a new certificate and puts it in force; how long it lives.
    async fn renew(
        &mut self,
        keeper: &Keeper,
        rng: &mut fastrand::Rng,
    ) -> Result<Duration, NotSigned> {
        let id = &keeper.identity.id;
        let request = Request::new(id);
        let request = request.map_err(|error| NotSigned::NotAsked(error.to_string()))?;
        let asked = Asked {
            keeper,
            csr: &request.csr,
        };
        let signed = match &self.contexts {
            Some(contexts) if self.is_valid() => {
                let context = contexts.known.clone();
                match asked
                    .by_certificate(&mut self.addresses, context, rng)
                    .await
                {
                    // It may have been taken from us, or the authority may know another root by now.
                    Err(NotSigned::Refused(_)) => {
                        let context = Some(&contexts.stranger);
                        asked.by_token(&mut self.addresses, context, rng).await
                    }
                    signed => signed,
                }
            }
            contexts => {
                let context = contexts.as_ref().map(|it| &it.stranger);
                asked.by_token(&mut self.addresses, context, rng).await
            }
        }?;
        self.put(keeper, signed, request.key)
    }

    fn put(
        &mut self,
        keeper: &Keeper,
        signed: Signed,
        key: SecretBytes,
    ) -> Result<Duration, NotSigned> {
        let Signed { chain, certificate } = signed;
        let now = unix_now();
        if certificate.not_before > now {
            // What is in force may be good for long.
            let why = format!(
                "it is not valid before {} s from now: do the clocks here and there agree?",
                certificate.not_before - now
            );
            return Err(NotSigned::Unusable(why));
        }
        let left = certificate.not_after.saturating_sub(now);
        let lifetime = u64::try_from(left).unwrap_or(0);
        if lifetime == 0 {
            let why = "it has expired already: is the clock right?";
            return Err(NotSigned::Unusable(why.to_owned()));
        }
        let pair = TlsCertificate {
            chain: DataSource::Inline(chain.as_bytes().into()),
            key: DataSource::Inline(key),
        };
        let pair = SecretKind::Certificate(Arc::new(pair));
        keeper.secrets.put(&SecretName::of_workload(), &pair);
        self.expires = Some(certificate.not_after);
        keeper.standing.issued(certificate.not_after);
        info!(
            id = %keeper.identity.id,
            serial = %certificate.serial,
            valid_for_s = lifetime,
            "certificate in force"
        );
        Ok(Duration::from_secs(lifetime))
    }
}

/// One request.
struct Asked<'a> {
    keeper: &'a Keeper,
    csr: &'a str,
}

impl Asked<'_> {
    async fn by_certificate(
        &self,
        addresses: &mut Addresses,
        context: Arc<ClientContext>,
        rng: &mut fastrand::Rng,
    ) -> Result<Signed, NotSigned> {
        self.send(addresses, Some(&context), None, rng).await
    }

    async fn by_token(
        &self,
        addresses: &mut Addresses,
        context: Option<&Arc<ClientContext>>,
        rng: &mut fastrand::Rng,
    ) -> Result<Signed, NotSigned> {
        let token = read_token(&self.keeper.identity.proof).await;
        let token = token.map_err(NotSigned::NotAsked)?;
        self.send(addresses, context, Some(token.expose()), rng)
            .await
    }

    async fn send(
        &self,
        addresses: &mut Addresses,
        context: Option<&Arc<ClientContext>>,
        token: Option<&[u8]>,
        rng: &mut fastrand::Rng,
    ) -> Result<Signed, NotSigned> {
        let Keeper {
            target, resolver, ..
        } = self.keeper;
        let address = addresses.next(target, resolver, rng).await;
        let address = address.map_err(NotSigned::Unreachable)?;
        let channel = channel::open(&address, context).await;
        let channel = channel.map_err(NotSigned::Unreachable)?;
        let id = &self.keeper.identity.id;
        sign(channel, self.csr.to_owned(), token, id).await
    }
}

async fn read_token(proof: &Proof) -> Result<SecretBytes, String> {
    let path = match proof {
        Proof::Token(token) => return Ok(token.clone()),
        Proof::File(path) => path,
    };
    let failed = |why: String| format!("token file {}: {why}", path.display());
    let metadata = tokio::fs::metadata(path).await;
    let metadata = metadata.map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > TOKEN_BYTES_MAX {
        let rule = format!("must be a file of at most {TOKEN_BYTES_MAX} bytes");
        return Err(failed(rule));
    }
    let read = tokio::fs::read(path).await;
    let read = read.map_err(|error| failed(error.to_string()))?;
    match read.trim_ascii() {
        [] => Err(failed("is empty".to_owned())),
        token => Ok(token.into()),
    }
}
