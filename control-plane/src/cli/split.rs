//! `weft split`.

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::apply::{Wait, author, change};
use super::client::Client;
use super::get::name_of;
use super::output::OutputFormat;
use crate::api::model::{ApplyRequest, SourceFile};

/// Options of `weft split`.
#[derive(Debug, Args)]
pub(super) struct Split {
    /// The service whose route is changed.
    service: String,
    /// Backends with their weights: `v1=90 v2=10`. A name is the backend's own, or what follows `SERVICE-` in it.
    #[arg(required = true, value_parser = parse_weight, value_name = "BACKEND=WEIGHT")]
    weights: Vec<(String, u32)>,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Show the difference only.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: Wait,
}

/// Sets the weights in every rule of the service's route that has these backends.
///
/// # Errors
/// If the service has no route or several, or a backend is in no rule, or as `weft apply`.
pub(super) async fn run(
    split: &Split,
    client: &Client,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let objects: Vec<Value> = client.get("/v1/objects").await?;
    let mut routes: Vec<Value> = objects
        .into_iter()
        .filter(|object| split.concerns(object))
        .collect();
    ensure!(
        routes.len() <= 1,
        "{} has {} routes: change them with `weft apply`",
        split.service,
        routes.len()
    );
    let mut route = routes
        .pop()
        .with_context(|| format!("{} has no route to split", split.service))?;
    split.set_weights(&mut route)?;
    let request = ApplyRequest {
        files: vec![SourceFile {
            name: "<split>".to_owned(),
            text: route.to_string(),
        }],
        author: author(),
        message: split.message(),
        dry_run: split.dry_run,
        wait_seconds: split.wait.seconds(),
        ..ApplyRequest::default()
    };
    change(&request, client, output).await
}

impl Split {
    /// Whether `object` is a route whose parent is the service.
    fn concerns(&self, object: &Value) -> bool {
        let name = name_of(object);
        let parents = object.pointer("/spec/parentRefs").and_then(Value::as_array);
        name.kind.ends_with("Route")
            && name.namespace == self.namespace
            && parents
                .into_iter()
                .flatten()
                .any(|p| p.get("name").and_then(Value::as_str) == Some(&self.service))
    }

    fn set_weights(&self, route: &mut Value) -> anyhow::Result<()> {
        let mut left: Vec<&str> = self.weights.iter().map(|(name, _)| name.as_str()).collect();
        let rules = route
            .pointer_mut("/spec/rules")
            .and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            let backends = rule.get_mut("backendRefs").and_then(Value::as_array_mut);
            for backend in backends
                .into_iter()
                .flatten()
                .filter_map(Value::as_object_mut)
            {
                let name = backend
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let found = self
                    .weights
                    .iter()
                    .find(|(wanted, _)| self.is_called(name, wanted));
                let Some((wanted, weight)) = found else {
                    bail!("{name} is a backend too: give its weight, 0 if it shall get nothing");
                };
                left.retain(|name| name != wanted);
                backend.insert("weight".to_owned(), json!(weight));
            }
        }
        ensure!(
            left.is_empty(),
            "no backend of the route of {} is called {}",
            self.service,
            left.join(" or ")
        );
        Ok(())
    }

    fn is_called(&self, backend: &str, wanted: &str) -> bool {
        backend == wanted
            || backend
                .strip_prefix(&self.service)
                .and_then(|r| r.strip_prefix('-'))
                == Some(wanted)
    }

    fn message(&self) -> String {
        let weights: Vec<String> = self
            .weights
            .iter()
            .map(|(name, weight)| format!("{name}={weight}"))
            .collect();
        format!("split {} {}", self.service, weights.join(" "))
    }
}

fn parse_weight(text: &str) -> Result<(String, u32), String> {
    let (name, weight) = text
        .split_once('=')
        .ok_or_else(|| format!("expected BACKEND=WEIGHT, got {text:?}"))?;
    let weight = weight.parse().ok().filter(|w| *w <= 1_000_000);
    let weight = weight
        .ok_or_else(|| format!("a weight is a whole number from 0 to 1000000, got {text:?}"))?;
    Ok((name.to_owned(), weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(weights: &[(&str, u32)]) -> Split {
        let weights = weights
            .iter()
            .map(|(name, weight)| ((*name).to_owned(), *weight))
            .collect();
        let wait = Wait::test_default();
        Split {
            service: "reviews".into(),
            weights,
            namespace: "default".into(),
            dry_run: false,
            wait,
        }
    }

    fn route() -> Value {
        json!({"kind": "HTTPRoute", "metadata": {"name": "reviews", "namespace": "default"}, "spec": {
            "parentRefs": [{"name": "reviews"}],
            "rules": [{"backendRefs": [{"name": "reviews-v1", "weight": 1}, {"name": "reviews-v2"}]}]}})
    }

    #[test]
    fn short_and_whole_names_set_weights() {
        let mut route = route();
        split(&[("v1", 90), ("reviews-v2", 10)])
            .set_weights(&mut route)
            .unwrap();
        assert_eq!(
            route.pointer("/spec/rules/0/backendRefs/0/weight"),
            Some(&json!(90))
        );
        assert_eq!(
            route.pointer("/spec/rules/0/backendRefs/1/weight"),
            Some(&json!(10))
        );
    }

    #[test]
    fn a_forgotten_backend_and_an_unknown_one_are_refused() {
        assert!(split(&[("v1", 90)]).set_weights(&mut route()).is_err());
        assert!(
            split(&[("v1", 1), ("v2", 1), ("v3", 1)])
                .set_weights(&mut route())
                .is_err()
        );
    }

    #[test]
    fn weights_are_bounded_whole_numbers() {
        assert!(parse_weight("v1").is_err());
        assert!(parse_weight("v1=-1").is_err());
        assert!(parse_weight("v1=1000001").is_err());
        assert_eq!(parse_weight("v1=1000000"), Ok(("v1".to_owned(), 1_000_000)));
    }
}
