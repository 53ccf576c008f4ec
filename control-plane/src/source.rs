//! Where everything that is served comes from besides the API: a watched directory, names that are resolved, and sidecars
//! that register their workloads.

pub mod dns;
pub mod files;
pub mod workloads;
