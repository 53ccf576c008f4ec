#![no_main]

#[path = "../src/authority.rs"]
mod authority;

libfuzzer_sys::fuzz_target!(|data: &[u8]| authority::name(data));
