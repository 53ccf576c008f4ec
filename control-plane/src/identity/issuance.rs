//! Issuing certificates: who is it, what does he ask for, and what is remembered of it.

mod counters;
mod proof;
mod refused;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use weft_config::spiffe::SpiffeId;

pub(crate) use self::counters::IssueCounters;
pub(crate) use self::proof::Proof;
pub(crate) use self::refused::{IssueRefused, RefusalKind};
use super::audit::{self, Limiter};
use super::authority::{Authority, Issued, Refused};
use super::caller::Caller;
use super::kept::{RedeemRefused, Tokens};
use super::kubernetes::Cluster;
use super::ledger::{IssuedRecord, Ledger};
use super::live::LiveAuthority;
use super::token::is_join_token;

/// Requests that wait for a signature at once; the signing of each takes less than a millisecond.
const WAITING_MAX: usize = 1024;

/// Bytes of a token: one of Kubernetes has some thousand.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What a certificate is asked for with.
pub(crate) struct Ask {
    /// A signing request.
    pub(crate) request: Vec<u8>,
    /// For how many seconds it shall be valid; 0: as long as the authority thinks right.
    pub(crate) seconds: i64,
    /// The value of `authorization`, where one was sent.
    pub(crate) authorization: Option<Vec<u8>>,
    /// Who is at the other end of the connection.
    pub(crate) caller: Caller,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Ask");
        shown.field("caller", &self.caller).finish_non_exhaustive() // it may have a token
    }
}

/// Where certificates are issued.
#[derive(Debug)]
pub(crate) struct Issuance {
    authority: Arc<LiveAuthority>,
    tokens: Arc<Tokens>,
    ledger: Arc<Ledger>,
    /// The cluster whose tokens are believed.
    cluster: Option<Arc<Cluster>>,
    counters: IssueCounters,
    /// Of lines about strangers, and about whom a token or certificate names: the former cannot crowd out the latter.
    of_strangers: Limiter,
    of_known: Limiter,
    /// One for each processor: who signs must not keep the streams from theirs.
    signers: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Issuance {
    /// Signs by `authority`, for those whom `tokens` or a certificate prove to be who they are.
    pub(crate) fn new(
        authority: Arc<LiveAuthority>,
        tokens: Arc<Tokens>,
        ledger: Arc<Ledger>,
    ) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            authority,
            tokens,
            ledger,
            cluster: None,
            counters: IssueCounters::default(),
            of_strangers: Limiter::default(),
            of_known: Limiter::default(),
            signers: Arc::new(Semaphore::new(processors)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The same, which believes the tokens of a cluster besides.
    pub(crate) fn believing(self, cluster: Option<Arc<Cluster>>) -> Self {
        Self { cluster, ..self }
    }

    /// The authority that signs.
    pub(crate) fn authority(&self) -> &LiveAuthority {
        &self.authority
    }

    /// What was counted.
    pub(crate) fn counters(&self) -> &IssueCounters {
        &self.counters
    }

    /// What was issued.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Issues a certificate, or says why not. The chain ends with the root.
    ///
    /// # Errors
    /// If it is not proved who asks, or more is asked for than he may have.
    pub(crate) async fn issue(&self, ask: Ask, now: Timestamp) -> Result<Issued, IssueRefused> {
        let peer = ask.caller.address.map(|it| it.to_string());
        let peer = peer.unwrap_or_default();
        let mut claimed = None;
        let issued = self.decide(ask, now, &mut claimed).await;
        let proof = claimed.as_ref().map(|(_, proof): &(SpiffeId, Proof)| proof);
        match (&issued, proof) {
            (Ok(issued), Some(proof)) => self.remember(issued, proof, peer, now),
            (Ok(_), None) => {} // nothing is issued without proof
            (Err(refused), _) => {
                self.counters.count_refused(refused.kind());
                let limiter = match claimed {
                    Some(_) => &self.of_known,
                    None => &self.of_strangers,
                };
                if limiter.may_say() {
                    let identity = claimed.as_ref().map(|(identity, _)| identity.to_string());
                    let proof = proof.map(ToString::to_string);
                    let reason = refused.to_string();
                    tracing::warn!(target: audit::TARGET, identity, proof, peer, reason, "certificate refused");
                }
            }
        }
        issued
    }

    async fn decide(
        &self,
        ask: Ask,
        now: Timestamp,
        claimed: &mut Option<(SpiffeId, Proof)>,
    ) -> Result<Issued, IssueRefused> {
        let Ask {
            request,
            seconds,
            authorization,
            caller,
        } = ask;
        let token = authorization.as_deref().map(bearer).transpose()?;
        let authority = self.authority.current();
        let (identity, proof) = self.judge(&authority, token, &caller, now, claimed)?;
        let joins = matches!(proof, Proof::JoinToken(_));
        *claimed = Some((identity.clone(), proof));
        if identity == authority.control_plane_id() {
            return Err(IssueRefused::Reserved { identity });
        }
        let lifetime = lifetime(seconds)?;
        let mut issued = self
            .sign(&authority, request, identity, lifetime, now)
            .await?;
        // Last: a token is not used up by whoever errs in something else.
        if let Some(token) = token.filter(|_| joins) {
            self.tokens.redeem(token.to_owned(), now).await?;
        }
        issued.chain.push(authority.root().to_owned());
        Ok(issued)
    }

    /// Who asks, by a token where one is sent, else by the certificate of the connection. Whose a token was that no longer holds is noted.
    fn judge(
        &self,
        authority: &Authority,
        token: Option<&str>,
        caller: &Caller,
        now: Timestamp,
        claimed: &mut Option<(SpiffeId, Proof)>,
    ) -> Result<(SpiffeId, Proof), IssueRefused> {
        if let Some(token) = token {
            if let Some(cluster) = self.cluster.as_ref().filter(|_| !is_join_token(token)) {
                let token = cluster.judge(token, authority.trust_domain(), now)?;
                return Ok((token.identity, Proof::KubernetesToken(token.id)));
            }
            let token = self.tokens.look(token).map_err(RedeemRefused::Token)?;
            let names = (token.namespace.as_str(), token.service_account.as_str());
            let identity = SpiffeId::workload(authority.trust_domain(), names.0, names.1);
            let identity = identity.map_err(|_| IssueRefused::NoProof)?; // it was one when the token was made
            let proof = Proof::JoinToken(token.id.clone());
            *claimed = Some((identity.clone(), proof.clone()));
            token.check(now).map_err(RedeemRefused::Token)?;
            return Ok((identity, proof));
        }
        let certificate = caller.certificate().ok_or(IssueRefused::NoProof)?;
        let serial = || certificate.serial.clone();
        let proof = Proof::Certificate(serial());
        *claimed = Some((certificate.identity.clone(), proof.clone()));
        certificate
            .check(now)
            .map_err(|why| IssueRefused::Certificate {
                serial: serial(),
                why,
            })?;
        Ok((certificate.identity.clone(), proof))
    }

    async fn sign(
        &self,
        authority: &Arc<Authority>,
        request: Vec<u8>,
        identity: SpiffeId,
        lifetime: Option<Duration>,
        now: Timestamp,
    ) -> Result<Issued, IssueRefused> {
        let waiting = Waiting::new(&self.waiting)?;
        let signers = self.signers.clone();
        let permit = signers
            .acquire_owned()
            .await
            .map_err(|_| Refused::Signing)?;
        let authority = authority.clone();
        let signed = spawn_blocking(move || {
            let signed = authority.sign(&request, &identity, lifetime, now);
            drop(permit);
            signed
        });
        let signed = signed.await.map_err(|_| Refused::Signing)?;
        drop(waiting);
        Ok(signed?)
    }

    fn remember(&self, issued: &Issued, proof: &Proof, peer: String, now: Timestamp) {
        self.counters.count_issued(proof);
        let Issued {
            identity,
            serial,
            not_after,
            ..
        } = issued;
        tracing::info!(target: audit::TARGET, %identity, serial, %not_after, peer, %proof, "certificate issued");
        self.ledger.add(IssuedRecord {
            serial: serial.clone(),
            identity: identity.to_string(),
            issued: now,
            expires: *not_after,
            proof: proof.to_string(),
            peer,
        });
    }
}

/// The token of `Bearer TOKEN` (RFC 6750 §2.1).
fn bearer(authorization: &[u8]) -> Result<&str, IssueRefused> {
    let value = std::str::from_utf8(authorization).ok();
    let parts = value.and_then(|it| it.split_once(' '));
    match parts {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") && token.len() <= TOKEN_BYTES_MAX =>
        {
            Ok(token)
        }
        _ => Err(IssueRefused::Authorization),
    }
}

fn lifetime(seconds: i64) -> Result<Option<Duration>, IssueRefused> {
    match u64::try_from(seconds) {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(_) => Err(IssueRefused::Lifetime { seconds }),
    }
}

/// Counts a request that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Result<Self, IssueRefused> {
        let waiting = Self(count);
        match count.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            true => Err(IssueRefused::Busy),
            false => Ok(waiting),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
