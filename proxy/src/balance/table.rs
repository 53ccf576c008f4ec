//! The endpoints of a cluster as last told, each with its state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weft_config::endpoint::{Address, Endpoint, EndpointSet, Health, Locality};

use super::endpoint::EndpointState;

/// What holds where a set does not say (xDS `Policy.overprovisioning_factor`).
const OVERPROVISIONING_PERCENT: u32 = 140;

/// One version of a cluster's endpoints.
#[derive(Debug, Default)]
pub(super) struct EndpointTable {
    pub(super) groups: Vec<Group>,
    pub(super) overprovisioning_percent: u32,
    pub(super) drop_per_million: u32,
}

/// The endpoints of one locality and priority.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) locality: Locality,
    pub(super) priority: u32,
    pub(super) weight: u32,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) state: Arc<EndpointState>,
    pub(super) weight: u32,
    pub(super) health: Health,
}

/// What an endpoint is known by from one set to the next.
type Key<'e> = (&'e Address, &'e str, &'e BTreeMap<String, String>);

fn key(endpoint: &Endpoint) -> Key<'_> {
    let Endpoint {
        address,
        hostname,
        socket_labels,
        ..
    } = endpoint;
    (address, hostname, socket_labels)
}

fn key_of(state: &EndpointState) -> Key<'_> {
    (&state.address, &state.hostname, &state.socket_labels)
}

impl EndpointTable {
    /// A table of this set in which endpoints of `old` keep their state.
    pub(super) fn build(set: &EndpointSet, old: &Self) -> Self {
        let mut known: HashMap<Key<'_>, &Arc<EndpointState>, foldhash::fast::RandomState> = old
            .rows()
            .map(|row| (key_of(&row.state), &row.state))
            .collect();
        // An endpoint listed twice has one state, whether it is old or new.
        let fresh: Vec<Arc<EndpointState>> = {
            let mut fresh = Vec::new();
            for endpoint in set.localities.iter().flat_map(|group| &group.endpoints) {
                if !known.contains_key(&key(endpoint)) {
                    fresh.push(EndpointState::new(
                        endpoint.address.clone(),
                        endpoint.hostname.clone(),
                        endpoint.socket_labels.clone(),
                    ));
                }
            }
            fresh
        };
        known.extend(fresh.iter().map(|state| (key_of(state), state)));
        let groups = set.localities.iter().map(|group| Group {
            locality: group.locality.clone(),
            priority: group.priority,
            weight: group.weight,
            rows: group
                .endpoints
                .iter()
                .filter_map(|endpoint| {
                    let state = known.get(&key(endpoint))?;
                    Some(Row {
                        state: Arc::clone(state),
                        weight: endpoint.weight.max(1),
                        health: endpoint.health,
                    })
                })
                .collect(),
        });
        Self {
            groups: groups.collect(),
            overprovisioning_percent: match set.overprovisioning_percent {
                0 => OVERPROVISIONING_PERCENT,
                given => given,
            },
            drop_per_million: set.drop_per_million,
        }
    }

    /// Every endpoint.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.groups.iter().flat_map(|group| &group.rows)
    }
}

impl Row {
    /// Whether it takes traffic first.
    pub(super) fn is_healthy(&self, now: u64) -> bool {
        self.health == Health::Healthy && !self.state.record.is_ejected(now)
    }

    /// Whether it takes traffic when the healthy ones cannot.
    pub(super) fn is_degraded(&self, now: u64) -> bool {
        self.health == Health::Degraded && !self.state.record.is_ejected(now)
    }
}
