//! `weft token`: join tokens of workloads, and tokens of the API.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;

use super::WrongUsage;
use super::client::Client;
use super::duration::shown;
use super::output::{OutputFormat, print_table, say, to_the_second};
use crate::api::model::{
    ApiTokenBody, ApiTokenCreated, ApiTokenRequest, TokenBody, TokenCreated, TokenRequest,
};
use crate::identity::{Role, check_account};

/// Options of `weft token`.
#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a join token for a workload, or a token of the API with a role; it is shown this once.
    Create(Create),
    /// List join tokens and tokens of the API, without their secrets.
    List,
    /// Take a token back.
    Revoke {
        /// Its id, as `weft token list` shows it.
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["service_account", "role"])))]
struct Create {
    /// A join token: which workload may get a certificate by it.
    #[arg(long, value_parser = service_account, value_name = "NAMESPACE/NAME")]
    service_account: Option<ServiceAccount>,
    /// A token of the API: what may be done with it. read: ask; write: also apply, delete and roll back; admin: also tokens.
    #[arg(long, value_name = "read|write|admin")]
    role: Option<Role>,
    /// What a token of the API is called, in lists and in the audit log. Default: its role.
    #[arg(
        long,
        requires = "role",
        conflicts_with = "service_account",
        value_name = "NAME"
    )]
    name: Option<String>,
    /// How long it can be used. A join token: at most 720h, by default 1h; one of the API: at most 8760h, by default 720h.
    #[arg(long, value_parser = super::duration::parse_lifetime, value_name = "TIME")]
    ttl: Option<Duration>,
    /// Write the token to this file, which must not be there yet and only its owner can read, instead of standard output.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// How often a join token can be used. Default 1.
    #[arg(long, conflicts_with = "role", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: Option<u32>,
}

/// How long a join token can be used.
const JOIN_TTL: Duration = Duration::from_secs(3600);

/// How long a token of the API can be used.
const API_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest that either can be used.
const JOIN_TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
const API_TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A namespace and a name.
#[derive(Clone, Debug)]
struct ServiceAccount {
    namespace: String,
    name: String,
}

fn service_account(text: &str) -> Result<ServiceAccount, String> {
    match text.split_once('/') {
        Some((namespace, name)) => {
            check_account(namespace, name)?;
            Ok(ServiceAccount {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }
        None => Err(format!("must be NAMESPACE/NAME, got {text:?}")),
    }
}

/// Makes, lists or takes back tokens.
///
/// # Errors
/// If the control plane cannot be reached or refuses.
pub(super) async fn run(
    token: &Token,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    match &token.action {
        Action::Create(create) => self::create(create, client, output).await,
        Action::List => list(client, output).await,
        Action::Revoke { id } => revoke(id, client, output).await,
    }
}

async fn create(create: &Create, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    match (&create.service_account, create.role) {
        (Some(account), _) => create_join(create, account, client, output).await,
        (None, Some(role)) => create_api(create, role, client, output).await,
        (None, None) => anyhow::bail!("--service-account or --role must be given"),
    }
}

async fn create_join(
    create: &Create,
    account: &ServiceAccount,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let request = TokenRequest {
        namespace: account.namespace.clone(),
        service_account: account.name.clone(),
        ttl_seconds: create.ttl_seconds("a join token", JOIN_TTL, JOIN_TTL_MAX)?,
        uses: create.uses.unwrap_or(1),
    };
    let bytes = client.post_bytes("/v1/tokens", &request).await?;
    let made: TokenCreated = serde_json::from_slice(&bytes)?;
    hand_over(create, output, &made, &made.token, || {
        let it = &made.description;
        format!(
            "token {} for {}/{}: until {}, uses: {}",
            it.id,
            it.namespace,
            it.service_account,
            to_the_second(&it.expires),
            it.uses_left
        )
    })
}

async fn create_api(
    create: &Create,
    role: Role,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let request = ApiTokenRequest {
        name: create.name.clone().unwrap_or_else(|| role.to_string()),
        role: role.to_string(),
        ttl_seconds: create.ttl_seconds("a token of the API", API_TTL, API_TTL_MAX)?,
    };
    let bytes = client.post_bytes("/v1/api-tokens", &request).await?;
    let made: ApiTokenCreated = serde_json::from_slice(&bytes)?;
    hand_over(create, output, &made, &made.token, || {
        let it = &made.description;
        format!(
            "token {} called {} for the role {}: until {}",
            it.id,
            it.name,
            it.role,
            to_the_second(&it.expires)
        )
    })
}

/// Shows a token that was made, and says what it is.
fn hand_over(
    create: &Create,
    output: OutputFormat,
    made: &impl Serialize,
    token: &str,
    what: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if let Some(file) = &create.to {
        write(file, token)
            .with_context(|| format!("the token is made and lost: writing {}", file.display()))?;
        eprintln!("{}; it is in {}", what(), file.display());
        return Ok(());
    }
    if output.print_structured(made)? {
        return Ok(());
    }
    // The token alone on standard output: for a file, or a variable of a script.
    say!("{token}")?;
    eprintln!("{}; it is not shown again", what());
    Ok(())
}

/// Writes a token where nobody else can read it, and over nothing.
fn write(file: &Path, token: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut opened = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    writeln!(opened, "{token}")?;
    opened.sync_all()
}

impl Create {
    /// How long the token lives.
    fn ttl_seconds(&self, what: &str, usual: Duration, max: Duration) -> anyhow::Result<u64> {
        let ttl = self.ttl.unwrap_or(usual);
        if ttl > max {
            let (max, got) = (shown(max), shown(ttl));
            let message = format!("--ttl of {what} must be at most {max}, got {got}");
            return Err(WrongUsage(message).into());
        }
        if let Some(file) = self.to.as_deref().filter(|file| file.exists()) {
            bail!("{} is there already: nothing was made", file.display());
        }
        Ok(ttl.as_secs())
    }
}

async fn list(client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    let joins: Vec<TokenBody> = client.get("/v1/tokens").await?;
    let of_api: Vec<ApiTokenBody> = client.get("/v1/api-tokens").await?;
    // One list of both: each has an id, an end and a state.
    let all =
        (joins.iter().map(serde_json::to_value)).chain(of_api.iter().map(serde_json::to_value));
    let all: Vec<serde_json::Value> = all.collect::<Result<_, _>>()?;
    if output.print_structured(&all)? {
        return Ok(());
    }
    let joins = joins.into_iter().map(|it| {
        let (account, uses) = (
            format!("{}/{}", it.namespace, it.service_account),
            it.uses_left,
        );
        [
            it.id,
            "join".to_owned(),
            account,
            it.expires,
            uses.to_string(),
            it.state,
        ]
    });
    let of_api = of_api.into_iter().map(|it| {
        [
            it.id,
            it.role,
            it.name,
            it.expires,
            "-".to_owned(),
            it.state,
        ]
    });
    let rows = joins.chain(of_api).map(|mut row| {
        let [.., expires, _, _] = &mut row;
        *expires = to_the_second(expires);
        row.to_vec()
    });
    let header = ["id", "kind", "for", "expires", "uses left", "state"];
    print_table(&header, rows.collect(), "there are no tokens")
}

async fn revoke(id: &str, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    // An id is hexadecimal: anything else would lead to another page.
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        anyhow::bail!("there is no token {id}");
    }
    let of_api: Vec<ApiTokenBody> = client.get("/v1/api-tokens").await?;
    let kind = match of_api.iter().any(|it| it.id == id) {
        true => "api-tokens",
        false => "tokens",
    };
    let path = format!("/v1/{kind}/{id}/revoke");
    let bytes = client.post_bytes(&path, &serde_json::json!({})).await?;
    let revoked: serde_json::Value = serde_json::from_slice(&bytes)?;
    if output.print_structured(&revoked)? {
        return Ok(());
    }
    say!("token {id} revoked")?;
    Ok(())
}
