#![no_main]

#[path = "../src/xds.rs"]
mod xds;

libfuzzer_sys::fuzz_target!(|data: &[u8]| xds::resource(data));
