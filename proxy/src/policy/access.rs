//! Who gets in: gates that judge by configured rules, count, and say why not.

use std::net::IpAddr;
use std::sync::Arc;

use weft_config::policy::access::{
    AccessFilter, AccessRules, Asked, Claims, Judgement, OnRevoke, Peer,
};
use weft_config::route::RequestHead;

use crate::listener::ConnectionFacts;
use crate::telemetry::{AccessStats, Metrics};

/// One configured filter that lets through or not.
#[derive(Debug)]
pub struct AccessGate {
    config: Arc<AccessFilter>,
    stats: Arc<AccessStats>,
    shadow_stats: Arc<AccessStats>,
}

/// Somebody stays out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The policy that matched; `None`: nothing allowed it.
    policy: Option<Arc<str>>,
}

/// What a gate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether whoever asks may pass.
    pub result: Result<(), Denied>,
    /// What its shadow would have denied, for the log.
    pub shadow: Option<Denied>,
}

/// A connection that every gate of its filter chain has let through. Only this room makes one, and nobody connects upstream for a
/// downstream without.
#[derive(Debug)]
pub struct Permit {
    shadow: Option<Denied>,
}

impl AccessGate {
    /// A gate that counts under the names in `config`.
    pub fn new(config: Arc<AccessFilter>, metrics: &Metrics) -> Self {
        let shadow_name = match &*config.shadow_name {
            "" => &config.name,
            _ => &config.shadow_name,
        };
        Self {
            stats: metrics.access(&config.name),
            shadow_stats: metrics.access(shadow_name),
            config,
        }
    }

    /// What it was made for.
    pub fn config(&self) -> &Arc<AccessFilter> {
        &self.config
    }

    /// Whether what is under way is cut when the rules no longer allow it.
    pub fn cuts(&self) -> bool {
        self.config.on_revoke == OnRevoke::Close
    }

    /// Judges who asks, and counts it.
    pub fn admit(&self, asked: &Asked<'_>) -> Admission {
        let shadow = self.config.shadow.as_ref().and_then(|shadow| {
            let denied = judge(shadow, asked).err();
            match denied {
                Some(_) => self.shadow_stats.shadow_denied.inc(),
                None => self.shadow_stats.shadow_allowed.inc(),
            }
            denied
        });
        let result = self.judge(asked);
        if self.config.rules.is_some() {
            match result {
                Ok(()) => self.stats.allowed.inc(),
                Err(_) => self.stats.denied.inc(),
            }
        }
        Admission { result, shadow }
    }

    /// Judges who asks without counting those who may: they have been counted.
    pub fn admit_again(&self, asked: &Asked<'_>) -> Result<(), Denied> {
        let result = self.judge(asked);
        if result.is_err() {
            self.stats.denied.inc();
        }
        result
    }

    fn judge(&self, asked: &Asked<'_>) -> Result<(), Denied> {
        let rules = self.config.rules.as_ref();
        rules.map_or(Ok(()), |rules| judge(rules, asked))
    }
}

fn judge(rules: &AccessRules, asked: &Asked<'_>) -> Result<(), Denied> {
    match rules.judge(asked) {
        Judgement { allowed: true, .. } => Ok(()),
        Judgement { policy, .. } => Err(Denied {
            policy: policy.cloned(),
        }),
    }
}

impl Denied {
    /// As Envoy's `%RESPONSE_CODE_DETAILS%` has it.
    pub fn details(&self) -> String {
        format!("rbac_access_denied_matched_policy[{}]", self.name())
    }

    /// What is told of a denial that was not enforced.
    pub fn shadow_details(&self) -> String {
        format!("rbac_shadow_denied_matched_policy[{}]", self.name())
    }

    fn name(&self) -> String {
        let name = self.policy.as_deref().unwrap_or("none");
        name.replace(|it: char| it.is_whitespace() || it.is_control(), "_")
    }
}

impl Permit {
    /// Has a new connection judged by `gates`, and counted.
    ///
    /// # Errors
    /// The first denial.
    pub fn of_connection(
        gates: &[Arc<AccessGate>],
        facts: &ConnectionFacts,
    ) -> Result<Self, Denied> {
        let mut permit = Self { shadow: None };
        let asked = connection(facts);
        for gate in gates {
            let admission = gate.admit(&asked);
            permit.shadow = permit.shadow.or(admission.shadow);
            admission.result?;
        }
        Ok(permit)
    }

    /// Whether `gates` would let a connection through of which not everything may be known yet; nothing is counted.
    pub fn foreseen(gates: &[Arc<AccessGate>], facts: &ConnectionFacts) -> Option<Self> {
        let asked = connection(facts);
        let all = gates.iter().all(|it| it.judge(&asked).is_ok());
        all.then_some(Self { shadow: None })
    }

    /// What a shadow would have denied, for the log.
    pub fn shadow(&self) -> Option<&Denied> {
        self.shadow.as_ref()
    }
}

/// A connection as rules see it.
pub fn connection(facts: &ConnectionFacts) -> Asked<'_> {
    let tls = facts.tls.as_deref();
    let server_name = tls.and_then(|tls| tls.server_name.as_deref());
    Asked {
        peer: tls.map(|tls| match &tls.peer {
            Some(peer) => Peer {
                names: &peer.names,
                subject: &peer.subject,
            },
            None => Peer::default(),
        }),
        source: facts.peer.ip(),
        remote: facts.peer.ip(),
        destination: facts.destination(),
        server_name: server_name.or(facts.server_name()).unwrap_or_default(),
        head: None,
        claims: None,
    }
}

/// A request on a connection as rules see it; `remote` is where it came from, as far as hops are trusted.
pub fn request<'a>(
    facts: &'a ConnectionFacts,
    remote: IpAddr,
    head: &'a dyn RequestHead,
    claims: Option<&'a Claims>,
) -> Asked<'a> {
    Asked {
        remote,
        head: Some(head),
        claims,
        ..connection(facts)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use weft_config::diag::{Diagnostics, FieldPath};
    use weft_config::listener::Direction;
    use weft_xds_proto::pb::envoy::config::rbac::v3 as pb;
    use weft_xds_proto::pb::envoy::extensions::filters::network::rbac::v3::Rbac;

    use super::*;

    /// Lets port 80 through, or keeps it out.
    fn rules(name: &str, action: pb::rbac::Action) -> pb::Rbac {
        let policy = pb::Policy {
            permissions: vec![pb::Permission {
                rule: Some(pb::permission::Rule::DestinationPort(80)),
            }],
            principals: vec![pb::Principal {
                identifier: Some(pb::principal::Identifier::Any(true)),
            }],
            ..pb::Policy::default()
        };
        pb::Rbac {
            action: action.into(),
            policies: HashMap::from([(name.to_owned(), policy)]),
            ..pb::Rbac::default()
        }
    }

    fn gate(proto: &Rbac, metrics: &Metrics) -> Arc<AccessGate> {
        let mut diag = Diagnostics::new();
        let filter = AccessFilter::parse_network(proto, &FieldPath::root(), &mut diag);
        Arc::new(AccessGate::new(Arc::new(filter.unwrap()), metrics))
    }

    fn facts(port: u16) -> ConnectionFacts {
        ConnectionFacts {
            listener: "l".into(),
            peer: "10.0.0.1:1".parse().unwrap(),
            local: ([10, 0, 0, 2], port).into(),
            original_dst: None,
            beside: None,
            direction: Direction::Inbound,
            protocol: None,
            hello: None,
            tls: None,
        }
    }

    #[test]
    fn a_denial_names_its_policy_on_one_line_and_is_counted() {
        let metrics = Metrics::new();
        let deny = Rbac {
            rules: Some(rules("no\nport 80", pb::rbac::Action::Deny)),
            stat_prefix: "deny".to_owned(),
            ..Rbac::default()
        };
        let gates = [gate(&deny, &metrics)];
        let denied = Permit::of_connection(&gates, &facts(80)).unwrap_err();
        let details = "rbac_access_denied_matched_policy[no_port_80]";
        assert_eq!(denied.details(), details);
        assert!(Permit::of_connection(&gates, &facts(81)).is_ok());
        let stats = metrics.access(&"deny".into());
        assert_eq!((stats.allowed.get(), stats.denied.get()), (1, 1));
    }

    #[test]
    fn every_gate_has_to_let_through_and_what_nothing_allows_stays_out() {
        let metrics = Metrics::new();
        let of = |action| {
            let rules = Some(rules("p", action));
            gate(
                &Rbac {
                    rules,
                    ..Rbac::default()
                },
                &metrics,
            )
        };
        let gates = [of(pb::rbac::Action::Allow), of(pb::rbac::Action::Deny)];
        let [allow, _] = &gates;
        assert!(Permit::of_connection(std::slice::from_ref(allow), &facts(80)).is_ok());
        assert!(Permit::of_connection(&gates, &facts(80)).is_err());
        let denied = Permit::of_connection(&gates, &facts(81)).unwrap_err();
        assert_eq!(denied.details(), "rbac_access_denied_matched_policy[none]");
        assert!(Permit::foreseen(&gates, &facts(80)).is_none());
    }

    #[test]
    fn a_shadow_keeps_nobody_out_and_is_told_and_counted() {
        let metrics = Metrics::new();
        let shadow = Rbac {
            shadow_rules: Some(rules("p", pb::rbac::Action::Deny)),
            shadow_rules_stat_prefix: "dry".to_owned(),
            stat_prefix: "wet".to_owned(),
            ..Rbac::default()
        };
        let gates = [gate(&shadow, &metrics)];
        let permit = Permit::of_connection(&gates, &facts(80)).unwrap();
        let told = permit.shadow().map(Denied::shadow_details);
        assert_eq!(
            told.as_deref(),
            Some("rbac_shadow_denied_matched_policy[p]")
        );
        let permit = Permit::of_connection(&gates, &facts(81)).unwrap();
        assert_eq!(permit.shadow(), None);
        let (dry, wet) = (metrics.access(&"dry".into()), metrics.access(&"wet".into()));
        assert_eq!((dry.shadow_allowed.get(), dry.shadow_denied.get()), (1, 1));
        assert_eq!((wet.allowed.get(), wet.denied.get()), (0, 0));
    }
}
