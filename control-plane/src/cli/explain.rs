//! `weft explain`.

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use weft_config::flag::ResponseFlag;

use super::output::{OutputFormat, say};

/// Options of `weft explain`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A response flag, such as `UH`.
    subject: String,
}

/// What is said of a flag.
#[derive(Serialize)]
struct Page {
    flag: &'static str,
    name: &'static str,
    meaning: &'static str,
    blame: &'static str,
    check: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_log: Option<&'static str>,
}

/// Said where one is sent to the access log, which is off by default.
const ACCESS_LOG: &str = "a sidecar writes one with `weft-proxy --access-log FILE`, or `-` for its standard output; with a \
                          bootstrap, the listener's access_log says where";

/// Explains a response flag.
///
/// # Errors
/// If the subject is no flag.
pub(super) fn run(explain: &Explain, output: OutputFormat) -> anyhow::Result<()> {
    let subject = explain.subject.as_str();
    if subject.contains("://") {
        bail!("explaining URLs is not part of this version yet; `weft explain FLAG` is");
    }
    let flag: ResponseFlag = subject.to_uppercase().parse().map_err(|_| {
        let known: Vec<&str> = ResponseFlag::ALL
            .iter()
            .map(|flag| flag.letters())
            .collect();
        anyhow::anyhow!(
            "{subject:?} is not a response flag, and explaining services is not part of this version yet; the flags are {}",
            known.join(", ")
        )
    })?;
    let page = Page {
        flag: flag.letters(),
        name: flag.long_name(),
        meaning: flag.meaning(),
        blame: flag.blame().as_str(),
        check: flag.check(),
        access_log: flag.check().contains("access log").then_some(ACCESS_LOG),
    };
    if !output.print_structured(&page)? {
        say!(
            "{} ({})\n\n{}\nside to blame: {}\nwhat to check: {}",
            page.flag,
            page.name,
            page.meaning,
            page.blame,
            page.check
        )?;
        if let Some(access_log) = page.access_log {
            say!("access log: {access_log}")?;
        }
    }
    Ok(())
}
