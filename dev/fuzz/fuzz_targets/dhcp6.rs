#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| hns_fuzz_bodies::dhcp6(input));
