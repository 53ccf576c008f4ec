//! A cluster and a request become an endpoint.
