//! What mesh mode decides of a listener that the control plane sends: where it is bound, and its access log.

use std::sync::Arc;

use weft_config::listener::{AccessLog, ChainAction, Direction, FilterChain, Listener};

use super::{Core, Source};

impl Core {
    /// Mesh mode binds what it was told to bind on the command line, and nothing else; so it is with the access log, which
    /// comes beside those that the control plane asks for.
    pub(super) fn placed(&self, listener: Arc<Listener>) -> Arc<Listener> {
        if self.options.listeners != Source::AdsByName {
            return listener;
        }
        let inbound = self.options.inbound.as_ref();
        let place = inbound.filter(|place| place.name == listener.name);
        let direction = match place {
            Some(_) => Direction::Inbound,
            None => Direction::Outbound,
        };
        let mut listener = (*listener).clone();
        listener.address = place.map(|place| place.address);
        listener.transparent = place.is_some_and(|place| place.transparent);
        listener.original_src = listener.transparent;
        listener.application_ports = place.map_or_else(Arc::default, |place| place.ports.clone());
        listener.direction = direction;
        if let Some(log) = &self.options.access_log {
            let log = log.of_direction(direction);
            let chains = listener.filter_chains.iter_mut();
            chains
                .chain(&mut listener.default_filter_chain)
                .for_each(|chain| log_to(chain, &log));
        }
        Arc::new(listener)
    }
}

fn log_to(chain: &mut FilterChain, log: &AccessLog) {
    match &mut chain.action {
        ChainAction::Http(hcm) => Arc::make_mut(hcm).access_log.push(log.clone()),
        ChainAction::Tcp(proxy) => Arc::make_mut(proxy).access_log.push(log.clone()),
    }
}
