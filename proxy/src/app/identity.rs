//! Who the workload is, as the command line says.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::sync::watch;
use weft_config::secret::DataSource;
use weft_config::spiffe::{CONTROL_PLANE, SpiffeId, TrustDomain};

use super::mesh::MeshConfig;
use crate::dns::Resolver;
use crate::identity::{Identity, Keeper, Proof, Shown, Standing, keep};
use crate::telemetry::Metrics;
use crate::tls::{ClientContext, Secrets};
use crate::xds::stream::{Security, Target};

/// The workload's identity in its mesh. Without a token it has none: its calls go out in plain.
#[derive(Clone, Debug, Default, Args)]
pub struct IdentityArgs {
    /// What proves to the control plane who we are: a token of `weft token create`. Better given by the environment, which other
    /// users of the machine do not see
    #[arg(long, env = "WEFT_JOIN_TOKEN", value_name = "TOKEN", hide_env_values = true,
          conflicts_with_all = ["join_token_file", "bootstrap"])]
    pub join_token: Option<String>,
    /// A file with such a token, read each time it is needed
    #[arg(
        long,
        env = "WEFT_JOIN_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "bootstrap"
    )]
    pub join_token_file: Option<PathBuf>,
    /// PEM of the mesh's roots: whom we trust until the control plane tells more. Needed with a token
    #[arg(
        long,
        env = "WEFT_TRUST_BUNDLE",
        value_name = "FILE",
        conflicts_with = "bootstrap"
    )]
    pub trust_bundle: Option<PathBuf>,
    /// The mesh's trust domain [default: cluster.local]
    #[arg(
        long,
        env = "WEFT_TRUST_DOMAIN",
        value_name = "NAME",
        conflicts_with = "bootstrap"
    )]
    pub trust_domain: Option<TrustDomain>,
    /// The service account that the token is for [default: the service]
    #[arg(
        long,
        env = "WEFT_SERVICE_ACCOUNT",
        value_name = "NAME",
        conflicts_with = "bootstrap"
    )]
    pub service_account: Option<String>,
}

impl IdentityArgs {
    /// Who a workload of `service` is; `None`: nobody.
    ///
    /// # Errors
    /// What does not go together.
    pub(super) fn identity(
        &self,
        namespace: &str,
        service: &str,
    ) -> Result<Option<Identity>, String> {
        let proof = match (&self.join_token, &self.join_token_file) {
            (Some(token), _) if token.trim().is_empty() => {
                return Err("--join-token: must not be empty".to_owned());
            }
            (Some(token), _) => Proof::Token(token.trim().as_bytes().into()),
            (None, Some(file)) => Proof::File(file.clone()),
            (None, None) => {
                return match self.trust_bundle {
                    Some(_) => {
                        Err("--trust-bundle needs --join-token or --join-token-file".to_owned())
                    }
                    None => Ok(None),
                };
            }
        };
        let Some(bundle) = &self.trust_bundle else {
            let usage =
                "a join token needs --trust-bundle FILE: without roots nobody could be trusted";
            return Err(usage.to_owned());
        };
        let roots = bundle
            .to_str()
            .ok_or("--trust-bundle: must be a path in UTF-8")?;
        let domain = self.trust_domain.clone().unwrap_or_default();
        let account = self.service_account.as_deref().unwrap_or(service);
        let id = SpiffeId::workload(&domain, namespace, account);
        let (of_namespace, of_account) = CONTROL_PLANE;
        let control_plane = SpiffeId::workload(&domain, of_namespace, of_account);
        Ok(Some(Identity {
            id: id.map_err(|fault| format!("--service-account: {fault}"))?,
            proof,
            control_plane: control_plane.map_err(|fault| fault.to_string())?,
            roots: DataSource::File(roots.into()),
        }))
    }
}

/// What keeps the workload's certificate, before it is run.
pub(super) struct Keeping {
    keeper: Keeper,
    held: watch::Sender<u64>,
    /// How the control plane is spoken to by whoever has a certificate; `None`: in plain.
    towards_control_plane: Option<Arc<ClientContext>>,
}

impl Keeping {
    /// Puts in force whom we trust; `None`: the workload is nobody.
    pub(super) fn build(
        mesh: &MeshConfig,
        secrets: &Arc<Secrets>,
        metrics: &Metrics,
        resolver: &Resolver,
    ) -> Option<Self> {
        let identity = mesh.identity.clone()?;
        let towards = identity.towards_control_plane(Shown::Certificate);
        let keeper = Keeper {
            identity,
            target: Target::Host {
                host: mesh.control_plane_host.clone(),
                port: mesh.control_plane_port,
            },
            tls: mesh.control_plane_tls,
            resolver: resolver.clone(),
            secrets: secrets.clone(),
            stats: metrics.identity.clone(),
            standing: Arc::default(),
        };
        keeper.trust();
        Some(Self {
            towards_control_plane: keeper.tls.then(|| secrets.client(&towards)),
            keeper,
            held: watch::Sender::new(0),
        })
    }

    /// How xDS is spoken.
    pub(super) fn security(&self) -> Option<Security> {
        let context = self.towards_control_plane.clone()?;
        Some(Security {
            context,
            held: self.held.subscribe(),
        })
    }

    /// Whether there is a certificate.
    pub(super) fn standing(&self) -> Arc<Standing> {
        self.keeper.standing.clone()
    }

    /// Never returns.
    pub(super) async fn run(self) {
        keep(self.keeper, self.held).await;
    }
}
