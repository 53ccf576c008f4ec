pub(crate) mod authority;
mod handshakes;
mod streams;
