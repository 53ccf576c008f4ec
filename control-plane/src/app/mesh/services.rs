//! Services, their endpoints, and everything about one of them or about one object.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weft_config::gateway_api::{AppProtocol, Kind, Object, ObjectKey, Resources, ServiceName};
use weft_config::lint::{Concern, Remark, lint_concerned};

use super::{Mesh, parents, service_name};
use crate::api::model::{
    EndpointBody, LeftOutBody, ObjectDescription, PortBody, ServiceBody, ServiceDescription,
};
use crate::translate::{self, endpoints_of, kept_out, route_status, targets};

impl Mesh {
    /// All services, by namespace and name.
    pub fn services(&self) -> Vec<ServiceBody> {
        let resources = self.resources();
        let mut endpoints: HashMap<String, usize> = HashMap::new();
        for endpoint in self.endpoints() {
            let (service, _) = endpoint.service.rsplit_once(':').unwrap_or_default();
            *endpoints.entry(service.to_owned()).or_default() += 1;
        }
        let mut routes: HashMap<ServiceName, Vec<String>> = HashMap::new();
        for route in resources.iter().filter(|object| object.kind().is_route()) {
            for parent in parents(route) {
                let name = route.metadata.name.clone();
                routes.entry(parent).or_default().push(name);
            }
        }
        let services = [Kind::MeshService, Kind::Service]
            .into_iter()
            .flat_map(|kind| resources.of_kind(kind));
        let mut bodies: Vec<ServiceBody> = services
            .map(|object| {
                let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
                let endpoints = endpoints.get(&format!("{name}.{namespace}")).copied();
                let routes = routes.get(&service_name(namespace, name)).cloned();
                service_body(
                    &resources,
                    object,
                    endpoints.unwrap_or(0),
                    routes.unwrap_or_default(),
                )
            })
            .collect();
        bodies.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        bodies
    }

    /// Everything about one service.
    pub fn describe_service(&self, namespace: &str, name: &str) -> Option<ServiceDescription> {
        let resources = self.resources();
        let service = resources.find_service(&service_name(namespace, name))?;
        let object = resources.get(&service.key())?;
        let of_service = |object: &&Arc<Object>| refers_to(object, namespace, name);
        let routes: Vec<_> = resources
            .iter()
            .filter(|o| o.kind().is_route())
            .filter(of_service)
            .collect();
        let policies = resources
            .iter()
            .filter(|o| o.kind().is_policy())
            .filter(|policy| {
                refers_to(policy, namespace, name)
                    || routes.iter().any(|route| aims_at(policy, &route.key()))
                    || translate::holds_without_targets(policy, namespace)
            });
        let policies: Vec<_> = policies.collect();
        let prefix = format!("{name}.{namespace}:");
        let mut concerned = vec![object.key()];
        concerned.extend(routes.iter().chain(&policies).map(|it| it.key()));
        let mut findings = self.findings_of(|key| concerned.contains(key));
        let remarks = remarks_on(&resources, concerned);
        findings.extend(remarks.map(|it| format!("{}: {}", it.object, it.finding)));
        let endpoints: Vec<EndpointBody> = self
            .endpoints()
            .into_iter()
            .filter(|e| e.service.starts_with(&prefix))
            .collect();
        let left_out = self.left_out().into_iter();
        let left_out = left_out.filter(|it| it.service.starts_with(&prefix));
        let names = routes.iter().map(|route| route.metadata.name.clone());
        Some(ServiceDescription {
            service: service_body(&resources, object, endpoints.len(), names.collect()),
            object: object.to_json(),
            policies: policies.iter().map(|policy| policy.to_json()).collect(),
            routes: routes.iter().map(|route| route.to_json()).collect(),
            endpoints,
            access: self.access_of(&service),
            left_out: left_out.collect(),
            findings,
        })
    }

    /// Everything about one object.
    pub fn describe_object(&self, key: &ObjectKey) -> Option<ObjectDescription> {
        let resources = self.resources();
        let object = resources.get(key)?;
        let conditions = route_status(&resources, object)
            .into_iter()
            .flat_map(|it| it.parents);
        let conditions = conditions.flat_map(|parent| parent.conditions);
        let remarks = remarks_on(&resources, vec![key.clone()]);
        Some(ObjectDescription {
            object: object.to_json(),
            services: services_about(&resources, object),
            conditions: conditions
                .map(|it| format!("{} {}: {} ({})", it.kind, it.status, it.message, it.reason))
                .collect(),
            findings: remarks.map(|remark| remark.finding.to_string()).collect(),
        })
    }

    /// Endpoints of all services.
    pub fn endpoints(&self) -> Vec<EndpointBody> {
        let view = self.view.borrow();
        let mut bodies = Vec::new();
        for (name, service) in view.index.services() {
            for (port, endpoints) in endpoints_of(&view.index, &view.discovered, service) {
                bodies.extend(endpoints.iter().map(|endpoint| {
                    EndpointBody {
                        service: format!("{}.{}:{port}", name.name, name.namespace),
                        address: endpoint.address.to_string(),
                        health: if endpoint.draining {
                            "draining"
                        } else {
                            "healthy"
                        }
                        .to_owned(),
                        weight: endpoint.weight,
                        identity: endpoint.identity.as_ref().map(ToString::to_string),
                    }
                }));
            }
        }
        bodies
    }
}

impl Mesh {
    /// Workloads that say they are of a service and are none of its endpoints, of all services.
    pub fn left_out(&self) -> Vec<LeftOutBody> {
        let view = self.view.borrow();
        let services = view.index.services().iter();
        let bodies = services.flat_map(|(name, service)| {
            let left_out = kept_out(&view.index, &view.discovered, service).into_iter();
            left_out.map(move |(port, registration)| {
                let workload = &registration.workload;
                LeftOutBody {
                    service: format!("{}.{}:{port}", name.name, name.namespace),
                    address: SocketAddr::from((workload.address, workload.inbound_port)).to_string(),
                    node: registration.node_id.to_string(),
                    reason: "an AuthenticationPolicy is STRICT there, and the workload has registered without an identity".to_owned(),
                }
            })
        });
        bodies.collect()
    }
}

/// A service with as many endpoints and these routes.
fn service_body(
    resources: &Resources,
    object: &Object,
    endpoints: usize,
    routes: Vec<String>,
) -> ServiceBody {
    let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
    let service = resources.find_service(&service_name(namespace, name));
    let ports = service.map(|it| resources.service_ports(&it));
    let ports = ports.unwrap_or_default().into_iter().map(|port| PortBody {
        port: port.port,
        protocol: protocol_name(port.app_protocol),
    });
    ServiceBody {
        kind: object.kind().name().to_owned(),
        namespace: namespace.clone(),
        name: name.clone(),
        ports: ports.collect(),
        endpoints,
        routes,
    }
}

fn protocol_name(protocol: AppProtocol) -> String {
    serde_json::to_value(protocol)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The services that a route is attached to or a policy is about, by name.
fn services_about(resources: &Resources, object: &Object) -> Vec<String> {
    let named = parents(object).into_iter();
    let all = [Kind::MeshService, Kind::Service].into_iter();
    let all = all.flat_map(|kind| resources.of_kind(kind));
    let reached = all.filter(|it| translate::holds_without_targets(object, &it.metadata.namespace));
    let reached = reached.map(|it| service_name(&it.metadata.namespace, &it.metadata.name));
    let mut services: Vec<String> = named.chain(reached).map(|it| it.to_string()).collect();
    services.sort();
    services.dedup();
    services
}

/// What lint says of these objects.
fn remarks_on(resources: &Resources, objects: Vec<ObjectKey>) -> impl Iterator<Item = Remark> {
    let objects = objects.into_iter().collect();
    let concern = Concern::of(&objects, &[resources]);
    let remarks = lint_concerned(resources, &concern).into_iter();
    remarks.filter(move |remark| objects.contains(&remark.object))
}

/// Whether a policy is for this route.
fn aims_at(policy: &Object, route: &ObjectKey) -> bool {
    let mut targets = targets(&policy.spec).iter();
    targets.any(|target| target.key() == *route)
}

fn refers_to(object: &Object, namespace: &str, name: &str) -> bool {
    let wanted = service_name(namespace, name);
    parents(object).contains(&wanted)
}
