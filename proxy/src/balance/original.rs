//! Endpoints of `ORIGINAL_DST` clusters: whatever the downstream dialled.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use weft_config::endpoint::{Address, Labels};

use super::endpoint::EndpointState;

type Known = HashMap<SocketAddr, Arc<EndpointState>, foldhash::fast::RandomState>;

/// Addresses that are remembered at once; beyond, those that nobody uses are forgotten, and then new ones are used
/// without being remembered.
const ADDRESSES_MAX: usize = 4096;

/// The addresses seen so far. Reading takes no lock.
#[derive(Debug, Default)]
pub(super) struct OriginalDestinations {
    known: ArcSwap<Known>,
    writer: Mutex<()>,
}

impl OriginalDestinations {
    pub(super) fn endpoint(&self, address: SocketAddr) -> Arc<EndpointState> {
        if let Some(endpoint) = self.known.load().get(&address) {
            return endpoint.clone();
        }
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load_full();
        if let Some(endpoint) = known.get(&address) {
            return endpoint.clone();
        }
        let endpoint = EndpointState::new(Address::Socket(address), "".into(), Labels::default());
        let mut next = Known::clone(&known);
        drop(known);
        if next.len() >= ADDRESSES_MAX {
            next.retain(|_, endpoint| endpoint.active() > 0);
        }
        if next.len() < ADDRESSES_MAX {
            next.insert(address, endpoint.clone());
            self.known.store(Arc::new(next));
        }
        endpoint
    }

    pub(super) fn all(&self) -> Vec<Arc<EndpointState>> {
        self.known.load().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_endpoint_and_idle_ones_are_forgotten_at_the_bound() {
        let destinations = OriginalDestinations::default();
        let address = |n: usize| SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80));
        let first = destinations.endpoint(address(0));
        let _busy = first.begin();
        assert_eq!(destinations.endpoint(address(0)).id, first.id);
        for n in 1..=ADDRESSES_MAX {
            destinations.endpoint(address(n));
        }
        assert_eq!(destinations.endpoint(address(0)).id, first.id);
        assert!(destinations.all().len() < 10);
    }
}
