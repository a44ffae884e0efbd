//! Modify requests and queries: reading never panics.

#![no_main]

use hns_hcn::{EndpointResource, ModifyRequest, NamespaceResource, NetworkResource, Query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(document) = serde_json::from_str(text) else { return };
    let _refused_or_not = ModifyRequest::<NetworkResource>::from_v2(&document);
    let _refused_or_not = ModifyRequest::<EndpointResource>::from_v2(&document);
    let _refused_or_not = ModifyRequest::<NamespaceResource>::from_v2(&document);
    let _refused_or_not = Query::parse(text);
});
