//! RBAC filters of both layers, and their place in a filter chain.

use weft_config::gateway_api::authorization_policy::{Action, OnRevoke};
use weft_config::policy::access::CONTINUOUS;
use weft_xds_proto::any;
use weft_xds_proto::pb::envoy::config::listener::v3::{Filter, FilterChain, filter::ConfigType};
use weft_xds_proto::pb::envoy::config::rbac::v3 as pb;
use weft_xds_proto::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use weft_xds_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter,
};
use weft_xds_proto::pb::envoy::extensions::filters::network::rbac::v3::{
    Rbac as NetworkRbac, rbac::EnforcementType,
};

use super::Layer;
use crate::snapshot::proto::{
    HCM, bool_value, network_filter, pack_in_order, packed_http_filter, packed_network_filter,
};

/// Policies of RBAC with their names.
pub(super) type Policies = Vec<(String, pb::Policy)>;

/// One filter, of either layer.
pub(super) struct Gate {
    pub(super) action: Action,
    /// `None`: everybody passes.
    pub(super) rules: Option<Policies>,
    pub(super) shadow: Option<Policies>,
    pub(super) on_revoke: OnRevoke,
}

impl Gate {
    /// A gate that keeps out whom `rules` match; none where there is nobody whom anything matches.
    pub(super) fn deny(rules: Policies, shadow: Policies, on_revoke: OnRevoke) -> Option<Self> {
        let some = |policies: Policies| (!policies.is_empty()).then_some(policies);
        let (rules, shadow) = (some(rules), some(shadow));
        (rules.is_some() || shadow.is_some()).then_some(Self {
            action: Action::Deny,
            rules,
            shadow,
            on_revoke,
        })
    }

    /// Rules without their policies; `None`: there are none.
    fn frame(&self, policies: &Option<Policies>) -> Option<pb::Rbac> {
        let action = match self.action {
            Action::Allow => pb::rbac::Action::Allow,
            Action::Deny => pb::rbac::Action::Deny,
        };
        policies.as_ref().map(|_| pb::Rbac {
            action: action.into(),
            ..pb::Rbac::default()
        })
    }

    fn word(&self) -> &'static str {
        match self.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
        }
    }

    fn filter_name(&self) -> String {
        let end = match self.on_revoke {
            OnRevoke::Keep => "",
            OnRevoke::Close => CONTINUOUS,
        };
        format!("rbac.{}{end}", self.word())
    }

    fn http(&self, service: &str) -> HttpFilter {
        let prefix = format!("{service}.{}", self.word());
        let rbac = HttpRbac {
            rules: self.frame(&self.rules),
            shadow_rules: self.frame(&self.shadow),
            shadow_rules_stat_prefix: prefix.clone(),
            rules_stat_prefix: prefix,
            ..HttpRbac::default()
        };
        let rules = each(&self.rules).map(|rules| HttpRbac {
            rules,
            ..HttpRbac::default()
        });
        let shadow = each(&self.shadow).map(|shadow_rules| HttpRbac {
            shadow_rules,
            ..HttpRbac::default()
        });
        let packed = pack_in_order(&rbac, rules.chain(shadow));
        packed_http_filter(&self.filter_name(), packed)
    }

    fn network(&self, service: &str) -> Filter {
        let prefix = format!("{service}.{}", self.word());
        let enforcement = match self.on_revoke {
            OnRevoke::Keep => EnforcementType::OneTimeOnFirstByte,
            OnRevoke::Close => EnforcementType::Continuous,
        };
        let rbac = NetworkRbac {
            rules: self.frame(&self.rules),
            shadow_rules: self.frame(&self.shadow),
            shadow_rules_stat_prefix: prefix.clone(),
            stat_prefix: prefix,
            enforcement_type: enforcement.into(),
            ..NetworkRbac::default()
        };
        let rules = each(&self.rules).map(|rules| NetworkRbac {
            rules,
            ..NetworkRbac::default()
        });
        let shadow = each(&self.shadow).map(|shadow_rules| NetworkRbac {
            shadow_rules,
            ..NetworkRbac::default()
        });
        let packed = pack_in_order(&rbac, rules.chain(shadow));
        packed_network_filter(&self.filter_name(), packed)
    }
}

/// Rules of one policy each, which add to the frame: its action is not said again, and so stays.
fn each(policies: &Option<Policies>) -> impl Iterator<Item = Option<pb::Rbac>> {
    let policies = policies.iter().flatten().cloned();
    policies.map(|policy| {
        Some(pb::Rbac {
            policies: [policy].into(),
            ..pb::Rbac::default()
        })
    })
}

/// Puts the gates that `gates` makes for the layer of `chain` before what the chain does. `service` names them in metrics.
///
/// Where requests are judged, paths are resolved before: what is judged is what goes on.
pub(super) fn insert(chain: &mut FilterChain, gates: impl Fn(Layer) -> Vec<Gate>, service: &str) {
    let Some(last) = chain.filters.pop() else {
        return;
    };
    match manager(&last) {
        Some(mut manager) => {
            let gates = gates(Layer::Http);
            if !gates.is_empty() {
                manager.normalize_path = Some(bool_value(true));
                manager.merge_slashes = true;
            }
            let gates = gates.iter().map(|gate| gate.http(service));
            manager.http_filters.splice(0..0, gates);
            chain.filters.push(network_filter(HCM, &manager));
        }
        None => {
            let gates = gates(Layer::Tcp);
            chain
                .filters
                .extend(gates.iter().map(|it| it.network(service)));
            chain.filters.push(last);
        }
    }
}

/// Puts `filter` before all others of a chain where requests are told apart.
pub(super) fn insert_http(chain: &mut FilterChain, filter: &HttpFilter) {
    if let Some(last) = chain.filters.last_mut()
        && let Some(mut manager) = manager(last)
    {
        manager.http_filters.insert(0, filter.clone());
        *last = network_filter(HCM, &manager);
    }
}

fn manager(filter: &Filter) -> Option<HttpConnectionManager> {
    match &filter.config_type {
        Some(ConfigType::TypedConfig(config)) => any::unpack(config).ok(),
        _ => None,
    }
}
