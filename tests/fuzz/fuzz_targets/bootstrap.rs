#![no_main]

#[path = "../src/bootstrap.rs"]
mod bootstrap;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bootstrap::file(data));
