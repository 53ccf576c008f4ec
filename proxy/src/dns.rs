//! The one wrapper around the resolver.
