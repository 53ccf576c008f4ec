#![no_main]

#[path = "../src/state_dir.rs"]
mod state_dir;

libfuzzer_sys::fuzz_target!(|data: &[u8]| state_dir::file(data));
