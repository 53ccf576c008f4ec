//! The xDS client: subscriptions, acknowledgement, last good tables.
