//! What a port takes: the `AuthenticationPolicy` that says it most closely.

use std::sync::Arc;

use weft_config::gateway_api::{AuthenticationPolicy, MtlsMode, Object, ServiceName, Spec};
use weft_config::spiffe::ROOT_NAMESPACE;

use super::access::ports_of_target;
use super::discovered::Registration;
use super::index::Index;

/// How closely a policy is about a port; the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Mesh,
    Namespace,
    Service,
    Port,
}

/// What `port` of the application of `members`, which are called `service`, takes.
pub(crate) fn mode(
    index: &Index,
    service: &ServiceName,
    members: &[Arc<Registration>],
    port: u16,
) -> MtlsMode {
    let about = |object: &Arc<Object>| {
        let Spec::AuthenticationPolicy(policy) = &object.spec else {
            return None;
        };
        let closeness = closeness(index, policy, object, service, members, port)?;
        Some((closeness, policy.mtls.mode))
    };
    let own = index.authentication(&service.namespace).iter();
    let mesh = index.authentication(ROOT_NAMESPACE).iter();
    let said = own.chain(mesh).filter_map(about).max();
    said.map_or_else(MtlsMode::default, |(_, mode)| mode)
}

/// `None`: it is about others.
fn closeness(
    index: &Index,
    policy: &AuthenticationPolicy,
    object: &Object,
    service: &ServiceName,
    members: &[Arc<Registration>],
    port: u16,
) -> Option<Closeness> {
    if policy.target_refs.is_empty() {
        return Some(match object.metadata.namespace == service.namespace {
            true => Closeness::Namespace,
            false => Closeness::Mesh,
        });
    }
    let about = policy
        .target_refs
        .iter()
        .filter(|target| !ports_of_target(index, target, service, members, port).is_empty());
    let closeness = about.map(|target| match target.section_name {
        Some(_) => Closeness::Port,
        None => Closeness::Service,
    });
    closeness.max()
}
