//! Listening sockets: addresses become accepted connections with their facts.
