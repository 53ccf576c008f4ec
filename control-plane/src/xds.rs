//! Streams, subscriptions, the push queue.
