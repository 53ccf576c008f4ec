//! Who may call a service, and what callers have to show, port by port.

use serde_json::Value;
use weft_config::gateway_api::authorization_policy::{AccessRule, Action, Mode};
use weft_config::gateway_api::{MtlsMode, Object, ServiceRef};

use super::Mesh;
use crate::api::model::PortAccessBody;
use crate::translate::{self, PolicyOnPort};

impl Mesh {
    /// Who may call each port of `service`; nothing where it has no sidecars, for nobody judges there.
    pub(super) fn access_of(&self, service: &ServiceRef) -> Vec<PortAccessBody> {
        let view = self.view.borrow();
        let (index, workloads) = (&*view.index, view.discovered.workloads.as_slice());
        if !translate::has_sidecars(index, service) {
            return Vec::new();
        }
        let ports = index.resources().service_ports(service).into_iter();
        let bodies = ports.map(|it| {
            let app = translate::application_port(index, service, it.port);
            let (name, members) = translate::called_by(index, service, workloads, app);
            let said = translate::closest_mode(index, &name, &members, app);
            let mode = said.map_or_else(MtlsMode::default, |(mode, _)| mode);
            let tokens = translate::tokens_on(index, &name, &members, app);
            let tokens = tokens.into_iter().flat_map(|(object, jwt)| {
                let word = if jwt.required {
                    "demanded"
                } else {
                    "looked at"
                };
                let by = name_of(object);
                let each = jwt.providers.iter();
                each.map(move |it| format!("tokens of {} are {word} ({by})", it.issuer))
            });
            PortAccessBody {
                port: it.port,
                mtls: word(mode),
                mtls_by: said.map(|(_, object)| name_of(object)),
                tokens: tokens.collect(),
                callers: callers(&translate::policies_on(index, &name, &members, app)),
            }
        });
        bodies.collect()
    }
}

/// A sentence for each rule: those who stay out, those who get in, and what is only tried.
fn callers(policies: &[PolicyOnPort<'_>]) -> Vec<String> {
    let of = |action: Action, mode: Mode| {
        let some =
            move |it: &&PolicyOnPort<'_>| it.policy.action == action && it.policy.mode == mode;
        policies.iter().filter(some)
    };
    let rules =
        |told: &'static str, of: &mut dyn Iterator<Item = &PolicyOnPort<'_>>| -> Vec<String> {
            let rules = of.flat_map(|it| {
                let rules = it.policy.rules.iter().enumerate();
                rules.map(move |(number, rule)| {
                    let (by, name) = (name_of(it.object), rule.name.as_deref());
                    let name = name.map_or_else(|| format!("rules[{number}]"), str::to_owned);
                    format!("{told} {} ({by}/{name})", sentence(rule))
                })
            });
            rules.collect()
        };
    let mut told = rules("never", &mut of(Action::Deny, Mode::Enforce));
    let allowing: Vec<_> = of(Action::Allow, Mode::Enforce).collect();
    match allowing.iter().any(|it| !it.policy.rules.is_empty()) {
        true => told.extend(rules("only", &mut allowing.into_iter())),
        false if allowing.is_empty() => {
            told.push("anybody else, for no policy has to allow it".to_owned())
        }
        false => {
            let by: Vec<String> = allowing.iter().map(|it| name_of(it.object)).collect();
            told.push(format!("nobody else, for {} allows nobody", by.join(", ")));
        }
    }
    told.extend(rules("dry run: never", &mut of(Action::Deny, Mode::DryRun)));
    told.extend(rules("dry run: only", &mut of(Action::Allow, Mode::DryRun)));
    if let [only] = told.as_mut_slice() {
        *only = only.replace(" else", "");
    }
    told
}

/// What a rule says, in a line: `from namespaces shop; to methods GET, paths /a/*`.
fn sentence(rule: &AccessRule) -> String {
    let mut parts = Vec::new();
    let mut add = |word: &str, entries: Vec<Value>| {
        let entries: Vec<String> = entries.iter().map(line).collect();
        if !entries.is_empty() {
            parts.push(format!("{word} {}", entries.join(" or ")));
        }
    };
    let value = |it: Result<Value, serde_json::Error>| it.unwrap_or_default(); // lists of strings and numbers
    add(
        "from",
        rule.from
            .iter()
            .map(|it| value(serde_json::to_value(it)))
            .collect(),
    );
    add(
        "to",
        rule.to
            .iter()
            .map(|it| value(serde_json::to_value(it)))
            .collect(),
    );
    add(
        "when",
        rule.when
            .iter()
            .map(|it| value(serde_json::to_value(it)))
            .collect(),
    );
    match parts.is_empty() {
        true => "anybody".to_owned(),
        false => parts.join(" "),
    }
}

fn line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(line).collect::<Vec<_>>().join(" "),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name}={}", line(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn name_of(object: &Object) -> String {
    format!("{}/{}", object.metadata.namespace, object.metadata.name)
}

fn word(mode: MtlsMode) -> String {
    let word = serde_json::to_value(mode).unwrap_or_default(); // a name
    word.as_str().unwrap_or_default().to_owned()
}
