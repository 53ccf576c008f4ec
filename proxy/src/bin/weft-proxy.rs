//! The sidecar proxy of Weft.
fn main() {}
