//! `weft proxy`: the live state of one proxy, asked through the control plane.

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::client::Client;
use super::output::{OutputFormat, say};

/// Options of `weft proxy`.
#[derive(Debug, Args)]
pub(super) struct Proxy {
    /// What of it.
    #[arg(value_enum)]
    what: What,
    /// The proxy's name, or enough of it to tell it from others.
    name: String,
}

/// What can be asked of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Everything that it has in force.
    Config,
    /// Clusters with their endpoints' state.
    Clusters,
    /// Endpoints as told by xDS.
    Endpoints,
    /// Route tables.
    Routes,
    /// Listeners.
    Listeners,
    /// Certificates.
    Certs,
    /// Metrics.
    Stats,
    /// Log levels.
    Log,
}

impl What {
    /// The page of the proxy's admin server.
    fn page(self) -> &'static str {
        match self {
            Self::Config => "config_dump",
            Self::Clusters => "clusters?format=json",
            Self::Endpoints => "config_dump?resource=dynamic_endpoint_configs&include_eds",
            Self::Routes => "config_dump?resource=dynamic_route_configs",
            Self::Listeners => "listeners?format=json",
            Self::Certs => "certs",
            Self::Stats => "stats/prometheus",
            Self::Log => "logging",
        }
    }
}

/// Prints a page of the proxy's admin server: its JSON as it is, or in another form where one was asked for.
///
/// # Errors
/// If the control plane cannot be reached, or the proxy is not connected or cannot be asked.
pub(super) async fn run(
    proxy: &Proxy,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let path = format!("/v1/proxies/{}/admin/{}", proxy.name, proxy.what.page());
    let page = client.get_bytes(&path).await?;
    let page = String::from_utf8_lossy(&page);
    let structured = match proxy.what {
        What::Stats => json!(page.lines().filter_map(sample).collect::<Vec<_>>()),
        What::Log => json!({"level": page.trim()}),
        _ if output == OutputFormat::Yaml => {
            serde_json::from_str(&page).context("the proxy's page is not JSON")?
        }
        _ => Value::Null, // JSON is what it is
    };
    let as_it_is = match output {
        OutputFormat::Table | OutputFormat::Wide => true,
        OutputFormat::Json | OutputFormat::Yaml => structured.is_null(),
    };
    match as_it_is {
        true => say!("{}", page.trim_end())?,
        false => drop(output.print_structured(&structured)?),
    }
    Ok(())
}

/// A line of the metrics page: `name{label="value"} 1`.
fn sample(line: &str) -> Option<Value> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let mut rest = labels.trim_end_matches('}');
    let mut read = serde_json::Map::new();
    while let Some((label, tail)) = rest.split_once("=\"") {
        let (text, after) = quoted(tail);
        read.insert(label.trim_start_matches(',').to_owned(), text.into());
        rest = after;
    }
    let value = value.parse::<f64>().ok().filter(|it| it.is_finite());
    Some(json!({"name": name, "labels": read, "value": value}))
}

/// The text up to the quote that ends it, without its escapes, and what comes after.
fn quoted(text: &str) -> (String, &str) {
    let mut read = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (read, text.get(at + 1..).unwrap_or_default()),
            '\\' => match letters.next() {
                Some((_, 'n')) => read.push('\n'),
                Some((_, other)) => read.push(other),
                None => break,
            },
            other => read.push(other),
        }
    }
    (read, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_metrics_is_name_labels_and_value() {
        let line = r#"a_total{cluster="in|80",path="a \"b\", {c}"} 3"#;
        let labels = json!({"cluster": "in|80", "path": "a \"b\", {c}"});
        let expected = json!({"name": "a_total", "labels": labels, "value": 3.0});
        assert_eq!(sample(line), Some(expected));
        let plain = json!({"name": "up", "labels": {}, "value": 1.0});
        assert_eq!(sample("up 1"), Some(plain));
        assert_eq!(sample("# TYPE up gauge"), None);
        assert_eq!(sample("# EOF"), None);
    }
}
