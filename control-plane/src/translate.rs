//! From what users wrote and what was discovered to what is served. Pure: values in, resources out.
//!
//! A service's resources are a function of [`UnitInputs`], which hold every object that was looked at and nothing else,
//! so they are the whole cache key: [`Translator`] builds anew only the units whose inputs differ.

mod backend;
mod cluster;
mod conditions;
mod discovered;
mod endpoints;
mod filters;
mod grpc;
mod http;
mod inbound;
mod index;
mod inputs;
mod policies;
mod rules;
mod tcp;
mod translator;
mod unit;

#[cfg(test)]
mod tests;

pub use self::conditions::{Condition, ParentStatus, RouteStatus, route_status};
pub use self::discovered::{Discovered, DnsAnswer, DnsQuestion, DnsRecord};
pub use self::endpoints::{EndpointAt, Origin, endpoints_of};
pub use self::index::Index;
pub use self::inputs::UnitInputs;
pub use self::translator::{Translated, Translator};
