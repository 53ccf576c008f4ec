#![no_main]

#[path = "../src/h1.rs"]
mod h1;

libfuzzer_sys::fuzz_target!(|data: &[u8]| h1::server(data));
