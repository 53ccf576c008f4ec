//! Where the ports of a service lead: to ports of the application behind it.

use weft_config::gateway_api::service::TargetPort;
use weft_config::gateway_api::{AppProtocol, ServiceRef, Spec};

use super::index::Index;

/// A port of a service, and the port of the application that it leads to.
pub(super) struct Lead {
    pub(super) name: Option<String>,
    pub(super) port: u16,
    /// `None`: one that has a name, and could be any.
    pub(super) target: Option<u16>,
    pub(super) protocol: AppProtocol,
}

impl Lead {
    pub(super) fn may_lead_to(&self, port: u16) -> bool {
        self.target.is_none_or(|target| target == port)
    }
}

/// What the ports of `service` lead to, in their order; nothing where there is no such service.
pub(super) fn leads_to(index: &Index, service: &ServiceRef) -> Vec<Lead> {
    let object = index.resources().get(&service.key());
    match object.map(|object| &object.spec) {
        Some(Spec::MeshService(mesh)) => {
            let leads = mesh.ports.iter().map(|it| Lead {
                name: it.name.clone(),
                port: it.port,
                target: Some(it.endpoint_port()),
                protocol: it.app_protocol,
            });
            leads.collect()
        }
        Some(Spec::Service(spec)) => {
            let leads = spec.ports.iter().map(|it| Lead {
                name: it.name.clone(),
                port: it.port,
                target: match it.target_port {
                    Some(TargetPort::Number(number)) => Some(number),
                    Some(TargetPort::Name(_)) => None,
                    None => Some(it.port),
                },
                protocol: it.app_protocol,
            });
            leads.collect()
        }
        _ => Vec::new(),
    }
}

/// The port of an application that `port` of `service` leads to, as far as the service says.
pub(crate) fn application_port(index: &Index, service: &ServiceRef, port: u16) -> u16 {
    let leads = leads_to(index, service);
    let lead = leads.iter().find(|lead| lead.port == port);
    lead.and_then(|lead| lead.target).unwrap_or(port)
}

/// The ports of `service` that lead to `port` of an application, or that itself where none does.
pub(super) fn called(index: &Index, service: &ServiceRef, port: u16) -> Vec<u16> {
    let leads = leads_to(index, service);
    let ports = leads.iter().filter(|lead| lead.may_lead_to(port));
    let ports: Vec<u16> = ports.map(|lead| lead.port).collect();
    match (ports.is_empty(), leads.as_slice()) {
        (false, _) => ports,
        // With one port there is little doubt how it is called, wherever it leads.
        (true, [only]) => vec![only.port],
        (true, _) => vec![port],
    }
}
