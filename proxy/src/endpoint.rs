//! Connections to endpoints: connecting, pooling.
