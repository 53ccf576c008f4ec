//! The control plane and CLI of Weft.
fn main() {}
