#![no_main]

#[path = "../src/access_log.rs"]
mod access_log;

libfuzzer_sys::fuzz_target!(|data: &[u8]| access_log::format(data));
