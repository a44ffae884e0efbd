use hns_hcn::{Endpoint, Namespace, Network};

/// Documents of networks, endpoints and namespaces: reading never panics, and what was read is written back and read again
/// as the same thing.
pub fn documents(input: &[u8]) {
    let Ok(document) = serde_json::from_slice(input) else { return };
    if let Ok(network) = Network::from_v2(&document) {
        assert_eq!(Network::from_v2(&network.to_v2()).as_ref(), Ok(&network));
    }
    if let Ok(endpoint) = Endpoint::from_v2(&document) {
        assert_eq!(Endpoint::from_v2(&endpoint.to_v2()).as_ref(), Ok(&endpoint));
    }
    if let Ok(namespace) = Namespace::from_v2(&document) {
        assert_eq!(Namespace::from_v2(&namespace.to_v2()).as_ref(), Ok(&namespace));
    }
}
