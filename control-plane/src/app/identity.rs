//! Who is who in the mesh, put together: the authority, join tokens, and what was issued.

use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::task::JoinSet;

use super::{Config, StartError};
use crate::identity::{ApiTokens, Cluster, Gate, Issuance, Ledger, LiveAuthority, Tokens};
use crate::store::Store;

/// All that says who is who.
pub(super) struct Identity {
    pub(super) tokens: Arc<Tokens>,
    pub(super) api_tokens: ApiTokens,
    pub(super) gate: Arc<Gate>,
    pub(super) issuance: Arc<Issuance>,
}

impl Identity {
    /// From the store and the folder of the authority; what has to be done again and again is added to `tasks`.
    pub(super) fn open(
        config: &Config,
        store: &Arc<Store>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, StartError> {
        let authority = open_authority(config, tasks)?;
        let (tokens, write_uses) = Tokens::load(store.clone(), config.trust_domain.clone())?;
        tasks.spawn(write_uses);
        let ledger = Arc::new(Ledger::load(store.clone())?);
        tasks.spawn(ledger.clone().follow());
        let gate = open_gate(config, authority.clone(), tasks)?;
        let issuance = Issuance::new(authority, tokens.clone(), ledger);
        let issuance = issuance.believing(open_cluster(config, tasks)?);
        Ok(Self {
            tokens,
            api_tokens: ApiTokens::load(store.clone())?,
            gate,
            issuance: Arc::new(issuance),
        })
    }
}

/// The cluster whose tokens are believed, which follows the file of its keys.
fn open_cluster(
    config: &Config,
    tasks: &mut JoinSet<()>,
) -> Result<Option<Arc<Cluster>>, StartError> {
    let Some(tokens) = &config.kubernetes else {
        return Ok(None);
    };
    let (cluster, follow) = Cluster::open(&tokens.issuer, tokens.jwks.clone())?;
    tasks.spawn(follow);
    Ok(Some(cluster))
}

/// The door of the port with TLS: `localhost`, the host's name and those that are given.
fn open_gate(
    config: &Config,
    authority: Arc<LiveAuthority>,
    tasks: &mut JoinSet<()>,
) -> Result<Arc<Gate>, StartError> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let usual = ["localhost", host.trim()].map(|name| ServerName::try_from(name.to_owned()));
    let mut names: Vec<_> = usual.into_iter().filter_map(Result::ok).collect();
    names.extend(config.secure_names.iter().cloned());
    names.sort_by_key(|name| name.to_str().into_owned());
    names.dedup();
    let (gate, renew) = Gate::open(authority, names)?;
    tasks.spawn(renew);
    Ok(gate)
}

/// The certificate authority, which follows its folder where it has one.
fn open_authority(
    config: &Config,
    tasks: &mut JoinSet<()>,
) -> Result<Arc<LiveAuthority>, StartError> {
    let (domain, lifetimes) = (config.trust_domain.clone(), config.lifetimes);
    let Some(folder) = config.authority_folder() else {
        return Ok(LiveAuthority::in_memory(domain, lifetimes)?);
    };
    let (authority, follow) = LiveAuthority::open(folder, domain, lifetimes)?;
    tasks.spawn(follow);
    Ok(authority)
}
