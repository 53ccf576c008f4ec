//! From what users wrote and what was discovered to what is served. Pure: values in, resources out.
//!
//! A service's resources are a function of [`UnitInputs`], which hold every object that was looked at and nothing else,
//! so they are the whole cache key. [`Translator`] knows which services were made with which objects in view: a change is
//! compared object by object with the state before, and only the services that it concerns are gathered and, where their
//! inputs differ, built anew.

mod access;
mod authentication;
mod backend;
mod backend_tls;
mod cluster;
mod concern;
mod conditions;
mod discovered;
mod endpoints;
mod filters;
mod grpc;
mod http;
mod inbound;
mod index;
mod inputs;
mod leads;
mod mesh_tls;
mod policies;
mod refused;
mod rules;
mod tcp;
mod template;
mod tokens;
mod translator;
mod unit;

#[cfg(test)]
mod tests;

pub(crate) use self::access::{PolicyOnPort, policies_on, unmet};
pub(crate) use self::authentication::{closest as closest_mode, tokens as tokens_on};
pub use self::conditions::{Condition, ParentStatus, RouteStatus, route_status};
pub use self::discovered::{
    Discovered, DnsAnswer, DnsQuestion, DnsRecord, Registration, RegistrationKey, Workload,
};
pub use self::endpoints::{EndpointAt, dns_questions, endpoints_of};
pub(crate) use self::endpoints::{has_sidecars, kept_out};
pub(crate) use self::inbound::called_by;
pub use self::inbound::preview as inbound_listener;
pub use self::index::Index;
pub(crate) use self::index::{extensions, targets};
pub use self::inputs::{Names, UnitInputs};
pub(crate) use self::leads::application_port;
pub use self::refused::{Refused, Unservable};
pub use self::translator::{Translated, Translator};
pub(crate) use self::translator::{holds_without_targets, reaches};
