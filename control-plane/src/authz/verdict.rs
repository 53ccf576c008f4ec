//! What would become of a call, and which rule says so.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weft_config::gateway_api::authorization_policy::{Action, Mode};
use weft_config::gateway_api::{AuthorizationPolicy, Object};
use weft_config::policy::access::{AccessAction, AccessFilter, AccessRules, Asked};
use weft_config::spiffe::TrustDomain;

use crate::source::files;
use crate::translate::{PolicyOnPort, unmet};

/// What would become of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Whether it would be let in.
    pub allowed: bool,
    /// Why, in a sentence.
    pub reason: String,
    /// The rule that decided; nothing where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<DecidedBy>,
    /// Rules that could have allowed it and do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<DecidedBy>,
    /// What else one should know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What would come of policies that are not enforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<String>,
    /// The call as it was judged: `GET reviews:9080 /a`.
    pub judged: String,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecidedBy {
    /// The policy: `NAMESPACE/NAME`.
    pub policy: String,
    /// The number of the rule, from 0.
    pub rule: Option<usize>,
    /// What the rule is called, where it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What of it the call does not meet, by the fields' names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<String>,
    /// Where it is written, as far as that is known: `FILE`, or `FILE:LINE:COLUMN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Verdict {
    /// Of a call that nobody has judged.
    pub(super) fn everybody(judged: String) -> Self {
        Self {
            allowed: true,
            reason: "no policy keeps it out, and none has to allow it".to_owned(),
            rule: None,
            others: Vec::new(),
            notes: Vec::new(),
            dry_run: Vec::new(),
            judged,
        }
    }

    /// Of a call that comes in plain to where TLS of the mesh alone is taken.
    pub(super) fn strangers_stay_out(judged: String) -> Self {
        Self {
            allowed: false,
            reason: "an AuthenticationPolicy is STRICT, and the caller does not show who he is"
                .to_owned(),
            ..Self::everybody(judged)
        }
    }

    /// Of a call to where nobody stands who could judge.
    pub(super) fn nobody_judges(judged: String) -> Self {
        Self {
            reason: "its endpoints have no sidecars of this mesh: nobody judges there, whatever policies say"
                .to_owned(),
            ..Self::everybody(judged)
        }
    }

    /// Of a call by somebody of another trust domain, to where TLS of the mesh is taken.
    pub(super) fn foreigners_stay_out(judged: String, own: &TrustDomain) -> Self {
        Self {
            allowed: false,
            reason: format!(
                "TLS of the mesh takes identities of the trust domain {own} alone, and ends the handshake"
            ),
            ..Self::everybody(judged)
        }
    }

    /// Of a call without a token to where one is demanded.
    pub(super) fn nobody_stays_out(judged: String) -> Self {
        Self {
            allowed: false,
            reason: "an AuthenticationPolicy demands a token, and the call brings none (--claim)"
                .to_owned(),
            ..Self::everybody(judged)
        }
    }

    /// Has a filter judge a call that was let through so far; whether it goes on.
    pub(super) fn pass(
        &mut self,
        filter: &AccessFilter,
        asked: &Asked<'_>,
        book: &Book<'_>,
    ) -> bool {
        if let Some(shadow) = &filter.shadow {
            self.dry_run.push(tried(shadow, asked));
        }
        if let Some(rules) = &filter.rules {
            self.obey(rules, asked, book);
        }
        self.allowed
    }

    fn obey(&mut self, rules: &AccessRules, asked: &Asked<'_>, book: &Book<'_>) {
        let judgement = rules.judge(asked);
        let rule = judgement.policy.map(|name| book.find(name));
        self.allowed = judgement.allowed;
        match (rules.action, &rule) {
            (AccessAction::Deny, Some(rule)) => self.reason = format!("{} denies it", rule.policy),
            (AccessAction::Allow, Some(rule)) => self.reason = format!("{} allows it", rule.policy),
            (AccessAction::Allow, None) => {
                let why = "there are policies that allow others, and none that allows it";
                self.reason = why.to_owned();
                self.others = book.could_allow(asked);
            }
            (AccessAction::Deny | AccessAction::Log, _) => return,
        }
        self.rule = rule;
    }
}

fn tried(shadow: &AccessRules, asked: &Asked<'_>) -> String {
    let judgement = shadow.judge(asked);
    let word = if judgement.allowed {
        "allowed"
    } else {
        "denied"
    };
    match judgement.policy {
        Some(policy) => format!("{word} by {policy}"),
        None => format!("{word}, no rule matched"),
    }
}

/// Who wrote what.
pub(super) struct Book<'a> {
    /// The policies about the port.
    pub(super) policies: &'a [PolicyOnPort<'a>],
    pub(super) place: &'a dyn Fn(&Object, usize) -> Option<String>,
}

impl Book<'_> {
    /// The rule that RBAC calls `name`: `NAMESPACE/POLICY/RULE`.
    fn find(&self, name: &str) -> DecidedBy {
        let mut parts = name.splitn(3, '/');
        let namespace = parts.next().unwrap_or(name);
        let policy = parts.next().unwrap_or_default();
        let rule = parts.next().unwrap_or_default();
        let found = self.policies.iter().find(|it| {
            let meta = &it.object.metadata;
            meta.name == policy && meta.namespace == namespace
        });
        let number = found.and_then(|it| Some((it, number(it.policy, rule)?)));
        match number {
            Some((found, number)) => self.entry(found, number, Vec::new()),
            None => DecidedBy {
                policy: format!("{namespace}/{policy}"),
                rule: None,
                name: None,
                unmet: Vec::new(),
                file: None,
            },
        }
    }

    /// Every rule of a policy that allows, with what of it the call does not meet.
    fn could_allow(&self, asked: &Asked<'_>) -> Vec<DecidedBy> {
        let allowing = self
            .policies
            .iter()
            .filter(|it| it.policy.action == Action::Allow && it.policy.mode == Mode::Enforce);
        let rules = allowing.flat_map(|it| {
            let rules = it.policy.rules.iter().enumerate();
            rules.map(move |(number, rule)| {
                let unmet = unmet(rule, Action::Allow, &it.ports, asked);
                self.entry(it, number, unmet)
            })
        });
        rules.collect()
    }

    fn entry(&self, of: &PolicyOnPort<'_>, number: usize, unmet: Vec<String>) -> DecidedBy {
        let meta = &of.object.metadata;
        let placed = (self.place)(of.object, number);
        DecidedBy {
            policy: format!("{}/{}", meta.namespace, meta.name),
            rule: Some(number),
            name: of.policy.rules.get(number).and_then(|it| it.name.clone()),
            unmet,
            file: placed.or_else(|| files::owner(of.object).map(str::to_owned)),
        }
    }
}

/// The number of the rule that is called so, by its name or by its number.
fn number(policy: &AuthorizationPolicy, rule: &str) -> Option<usize> {
    let mut names = policy.rules.iter().map(|it| it.name.as_deref());
    names.position(|name| name == Some(rule)).or_else(|| {
        let number = rule.strip_prefix("rules[")?.strip_suffix(']')?;
        number.parse().ok()
    })
}
