//! `weft token`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::client::Client;
use super::output::{OutputFormat, print_table, say, to_the_second};
use crate::api::model::{TokenBody, TokenCreated, TokenRequest};

/// Options of `weft token`.
#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a join token; it is shown this once.
    Create(Create),
    /// List join tokens, without their secrets.
    List,
    /// Take a join token back.
    Revoke {
        /// Its id, as `weft token list` shows it.
        id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// Who may use it.
    #[arg(long, value_parser = service_account, value_name = "NAMESPACE/NAME")]
    service_account: ServiceAccount,
    /// How long it can be used, at most 720h.
    #[arg(long, default_value = "1h", value_parser = super::duration::parse, value_name = "TIME")]
    ttl: Duration,
    /// How often it can be used.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: u32,
}

/// A namespace and a name.
#[derive(Clone, Debug)]
struct ServiceAccount {
    namespace: String,
    name: String,
}

fn service_account(text: &str) -> Result<ServiceAccount, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(ServiceAccount {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }
        _ => Err(format!("must be NAMESPACE/NAME, got {text:?}")),
    }
}

/// Makes, lists or takes back join tokens.
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
    let request = TokenRequest {
        namespace: create.service_account.namespace.clone(),
        service_account: create.service_account.name.clone(),
        ttl_seconds: create.ttl.as_secs(),
        uses: create.uses,
    };
    let bytes = client.post_bytes("/v1/tokens", &request).await?;
    let made: TokenCreated = serde_json::from_slice(&bytes)?;
    if output.print_structured(&made)? {
        return Ok(());
    }
    // The token alone on standard output: for a file, or a variable of a script.
    say!("{}", made.token)?;
    let it = &made.description;
    let expires = to_the_second(&it.expires);
    eprintln!(
        "token {} for {}/{}: until {expires}, uses: {}; it is not shown again",
        it.id, it.namespace, it.service_account, it.uses_left
    );
    Ok(())
}

async fn list(client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    let tokens: Vec<TokenBody> = client.get("/v1/tokens").await?;
    if output.print_structured(&tokens)? {
        return Ok(());
    }
    let rows = tokens.into_iter().map(|it| {
        vec![
            it.id,
            format!("{}/{}", it.namespace, it.service_account),
            to_the_second(&it.expires),
            it.uses_left.to_string(),
            it.state,
        ]
    });
    let header = ["id", "service account", "expires", "uses left", "state"];
    print_table(&header, rows.collect(), "there are no join tokens")
}

async fn revoke(id: &str, client: &Client, output: OutputFormat) -> anyhow::Result<()> {
    // An id is hexadecimal: anything else would lead to another page.
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        anyhow::bail!("there is no token {id}");
    }
    let path = format!("/v1/tokens/{id}/revoke");
    let bytes = client.post_bytes(&path, &serde_json::json!({})).await?;
    let revoked: TokenBody = serde_json::from_slice(&bytes)?;
    if output.print_structured(&revoked)? {
        return Ok(());
    }
    say!("token {} revoked", revoked.id)?;
    Ok(())
}
