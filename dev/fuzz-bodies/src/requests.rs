use hns_hcn::{
    EndpointResource, LiveTraceRequest, ModifyRequest, NamespaceResource, NetworkResource, Query,
    TraceRequest,
};

/// Modify requests, queries and what is to be traced: reading never panics.
pub fn requests(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(document) = serde_json::from_str(text) else { return };
    let _refused_or_not = ModifyRequest::<NetworkResource>::from_v2(&document);
    let _refused_or_not = ModifyRequest::<EndpointResource>::from_v2(&document);
    let _refused_or_not = ModifyRequest::<NamespaceResource>::from_v2(&document);
    let _refused_or_not = Query::parse(text);
    let _refused_or_not = TraceRequest::from_v2(&document);
    let _refused_or_not = LiveTraceRequest::from_v2(&document);
}
