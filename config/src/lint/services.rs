//! Services that nothing answers for, and slices that nothing asks for.

use super::{Remarks, spec};
use crate::diag::FieldPath;
use crate::gateway_api::mesh_service::MeshDiscovery;
use crate::gateway_api::service::{ServiceType, Transport};
use crate::gateway_api::{Kind, Object, ObjectKey, Spec};

pub(super) fn check(found: &mut Remarks<'_>, object: &Object) {
    match &object.spec {
        Spec::MeshService(service) => {
            if let MeshDiscovery::Static(list) = &service.discovery
                && list.endpoints.is_empty()
            {
                let path = spec().field("discovery").field("static").field("endpoints");
                let message =
                    "the service has no endpoints: every request to it is answered 503".to_owned();
                found.warn(object.key(), path, message);
            }
            let twin = ObjectKey::new(
                Kind::Service,
                &object.metadata.namespace,
                &object.metadata.name,
            );
            if found.resources.contains(&twin) {
                let path = FieldPath::root().field("metadata").field("name");
                let message = format!("the {twin} has the same host name; this MeshService wins");
                found.warn(object.key(), path, message);
            }
        }
        Spec::Service(service) => {
            let mine = |slice: &crate::gateway_api::EndpointSlice| {
                slice.service.as_ref() == Some(&object.metadata.name)
            };
            let sliced = found
                .resources
                .endpoint_slices()
                .any(|(meta, slice)| meta.namespace == object.metadata.namespace && mine(slice));
            let external = service.service_type == ServiceType::ExternalName;
            if service.selector.is_empty() && !sliced && !external {
                let message = "the service has no selector and no EndpointSlice: every request to it is answered 503";
                found.warn(object.key(), spec(), message.to_owned());
            }
            for (index, port) in service.ports.iter().enumerate() {
                if port.protocol != Transport::Tcp {
                    let path = spec().field("ports").index(index);
                    let message =
                        format!("port {} is not TCP: the mesh does not carry it", port.port);
                    found.warn(object.key(), path, message);
                }
            }
        }
        Spec::EndpointSlice(slice) => {
            let path = FieldPath::root().field("metadata").field("labels");
            let message = match &slice.service {
                None => {
                    "without the label `kubernetes.io/service-name` the slice belongs to no service"
                        .to_owned()
                }
                Some(name) => {
                    let key = ObjectKey::new(Kind::Service, &object.metadata.namespace, name);
                    if !found.resources.contains(&key) {
                        found.warn_missing(object.key(), path, &key, "");
                    }
                    return;
                }
            };
            found.warn(object.key(), path, message);
        }
        _ => {}
    }
}
