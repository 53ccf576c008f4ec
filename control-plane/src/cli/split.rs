//! `weft split`.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::apply::{Wait, author, change};
use super::client::Client;
use super::get::{missing, name_of, service_name};
use super::output::OutputFormat;
use crate::api::model::{ApplyRequest, ObjectName, SourceFile};

/// Options of `weft split`.
#[derive(Clone, Debug, Args)]
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
    let service = service_name(&split.service, &split.namespace)?;
    let split = &Split {
        service: service.name,
        namespace: service.namespace,
        ..split.clone()
    };
    split.check_weights()?;
    let objects: Vec<Value> = client.get("/v1/objects").await?;
    let names: Vec<ObjectName> = objects.iter().map(name_of).collect();
    let mut services = names.iter().filter(|it| {
        it.namespace == split.namespace && matches!(it.kind.as_str(), "Service" | "MeshService")
    });
    if !services.clone().any(|it| it.name == split.service) {
        let known = services.by_ref().map(|it| it.name.as_str());
        return Err(missing("service", &split.service, &split.namespace, known));
    }
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
            name: name_of(&route).to_string(),
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

    /// Each backend once, and requests for at least one of them.
    fn check_weights(&self) -> anyhow::Result<()> {
        let mut seen = BTreeSet::new();
        for (name, _) in &self.weights {
            let whole = format!("{}-", self.service);
            let short = name.strip_prefix(&whole).unwrap_or(name);
            ensure!(seen.insert(short), "{name} is given twice");
        }
        ensure!(
            self.weights.iter().any(|(_, weight)| *weight > 0),
            "all weights are 0: every request to {} would be answered 500",
            self.service
        );
        Ok(())
    }

    fn set_weights(&self, route: &mut Value) -> anyhow::Result<()> {
        let mut left: Vec<&str> = self.weights.iter().map(|(name, _)| name.as_str()).collect();
        let mut backends = BTreeSet::new();
        let mut forgotten = BTreeSet::new();
        let rules = route
            .pointer_mut("/spec/rules")
            .and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            let refs = rule.get_mut("backendRefs").and_then(Value::as_array_mut);
            for backend in refs.into_iter().flatten().filter_map(Value::as_object_mut) {
                let name = backend.get("name").and_then(Value::as_str);
                let name = name.unwrap_or_default().to_owned();
                let mut wanted = self.weights.iter();
                match wanted.find(|(wanted, _)| self.is_called(&name, wanted)) {
                    Some((wanted, weight)) => {
                        left.retain(|name| name != wanted);
                        backend.insert("weight".to_owned(), json!(weight));
                    }
                    None => {
                        forgotten.insert(name.clone());
                    }
                }
                backends.insert(name);
            }
        }
        let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
        let mut faults = Vec::new();
        if !left.is_empty() {
            let (route, unknown) = (&self.service, left.join(" or "));
            let there = list(backends);
            faults.push(format!(
                "no backend of the route of {route} is called {unknown}: there are {there}"
            ));
        }
        if !forgotten.is_empty() {
            faults.push(format!(
                "every backend needs its weight, 0 if it shall get nothing; missing: {}",
                list(forgotten)
            ));
        }
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
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
        .filter(|(name, _)| !name.is_empty())
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
    fn every_fault_of_the_backends_is_named_at_once() {
        let refused = split(&[("v1", 1), ("v3", 1)]).set_weights(&mut route());
        let refused = refused.unwrap_err().to_string();
        for part in [
            "is called v3: there are reviews-v1, reviews-v2",
            "missing: reviews-v2",
        ] {
            assert!(refused.contains(part), "{part:?} is not in {refused}");
        }
    }

    #[test]
    fn nothing_for_anybody_and_a_backend_given_twice_are_refused() {
        let faults = [&[("v1", 0), ("v2", 0)], &[("v1", 1), ("reviews-v1", 2)]];
        let faults = faults.map(|weights| split(weights).check_weights().unwrap_err().to_string());
        assert!(faults[0].contains("all weights are 0"), "{faults:?}");
        assert!(faults[1].contains("given twice"), "{faults:?}");
    }

    #[test]
    fn weights_are_bounded_whole_numbers() {
        assert!(parse_weight("v1").is_err());
        assert!(parse_weight("=5").is_err());
        assert!(parse_weight("v1=-1").is_err());
        assert!(parse_weight("v1=1000001").is_err());
        assert_eq!(parse_weight("v1=1000000"), Ok(("v1".to_owned(), 1_000_000)));
    }
}
