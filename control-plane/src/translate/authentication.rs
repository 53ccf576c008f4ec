//! What a port takes: the `AuthenticationPolicy` that says it most closely, of TLS and of tokens each.

use std::sync::Arc;

use weft_config::gateway_api::{
    AuthenticationPolicy, JwtAuthentication, MtlsMode, Object, ServiceName, Spec,
};
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

/// What `port` of the application of `members`, which are called `service`, takes. They share a listener: of what holds for each, the
/// strictest. Who comes by, and says that a milder policy is about him, makes it no milder for the others.
pub(crate) fn mode(
    index: &Index,
    service: &ServiceName,
    members: &[Arc<Registration>],
    port: u16,
) -> MtlsMode {
    closest(index, service, members, port).map_or_else(MtlsMode::default, |(mode, _)| mode)
}

/// As [`mode`], with the policy that says so; `None`: none does.
pub(crate) fn closest<'a>(
    index: &'a Index,
    service: &ServiceName,
    members: &[Arc<Registration>],
    port: u16,
) -> Option<(MtlsMode, &'a Object)> {
    let of = |members: &[Arc<Registration>]| closest_to(index, service, members, port);
    let each = members.iter().map(|it| of(std::slice::from_ref(it)));
    let strictest = each.max_by_key(|it| it.map_or_else(MtlsMode::default, |(mode, _)| mode));
    strictest.unwrap_or_else(|| of(&[]))
}

/// What is said of one of them.
fn closest_to<'a>(
    index: &'a Index,
    service: &ServiceName,
    members: &[Arc<Registration>],
    port: u16,
) -> Option<(MtlsMode, &'a Object)> {
    let said = policies(index, service).filter_map(|(object, policy)| {
        let mode = policy.mtls.as_ref()?.mode;
        let closeness = closeness(index, policy, object, service, members, port)?;
        Some(((closeness, mode), object))
    });
    let ((_, mode), object) = said.max_by_key(|(rank, _)| *rank)?;
    Some((mode, object))
}

/// What is said of tokens for `port`: by all policies that say it most closely.
pub(crate) fn tokens<'a>(
    index: &'a Index,
    service: &ServiceName,
    members: &[Arc<Registration>],
    port: u16,
) -> Vec<(&'a Object, &'a JwtAuthentication)> {
    let said = policies(index, service).filter_map(|(object, policy)| {
        let jwt = policy.jwt.as_ref()?;
        Some((
            closeness(index, policy, object, service, members, port)?,
            object,
            jwt,
        ))
    });
    let said: Vec<_> = said.collect();
    let closest = said.iter().map(|(closeness, ..)| *closeness).max();
    let closest = said.into_iter().filter(|(it, ..)| Some(*it) == closest);
    closest.map(|(_, object, jwt)| (object, jwt)).collect()
}

/// Those of the namespace, and those of the mesh, each once.
fn policies<'a>(
    index: &'a Index,
    service: &ServiceName,
) -> impl Iterator<Item = (&'a Object, &'a AuthenticationPolicy)> {
    let own = index.authentication(&service.namespace).iter();
    let mesh = index.authentication(ROOT_NAMESPACE).iter();
    let mesh = mesh.filter(|object| object.metadata.namespace != service.namespace);
    own.chain(mesh).filter_map(|object| match &object.spec {
        Spec::AuthenticationPolicy(policy) => Some((&**object, policy)),
        _ => None,
    })
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
