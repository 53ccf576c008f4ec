mod authority;
mod handshakes;
mod streams;
