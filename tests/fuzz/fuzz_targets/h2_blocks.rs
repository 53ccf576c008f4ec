#![no_main]

#[path = "../src/h2.rs"]
mod h2;

libfuzzer_sys::fuzz_target!(|data: &[u8]| h2::blocks(data));
