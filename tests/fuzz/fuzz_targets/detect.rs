#![no_main]

#[path = "../src/detect.rs"]
mod detect;

libfuzzer_sys::fuzz_target!(|data: &[u8]| detect::first_bytes(data));
