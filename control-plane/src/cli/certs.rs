//! `weft certs`.

use clap::Args;

use super::client::Client;
use super::output::{OutputFormat, print_table, to_the_second};
use crate::api::model::CertificateBody;

/// Options of `weft certs`.
#[derive(Debug, Args)]
pub(super) struct Certs {
    /// How many, newest first.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "NUMBER")]
    limit: u32,
}

/// Lists certificates that were issued.
///
/// # Errors
/// If the control plane cannot be reached or refuses.
pub(super) async fn run(
    certs: &Certs,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let path = format!("/v1/certificates?limit={}", certs.limit);
    let issued: Vec<CertificateBody> = client.get(&path).await?;
    if output.print_structured(&issued)? {
        return Ok(());
    }
    let wide = output == OutputFormat::Wide;
    let rows = issued.into_iter().map(|it| {
        let mut row = vec![
            it.serial,
            it.identity,
            to_the_second(&it.issued),
            to_the_second(&it.expires),
            it.proof,
        ];
        row.extend(wide.then_some(it.peer));
        row
    });
    let mut header = vec!["serial", "identity", "issued", "expires", "proof"];
    header.extend(wide.then_some("peer"));
    print_table(&header, rows.collect(), "no certificate was issued")
}
