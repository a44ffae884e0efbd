//! The IPAM driver: pools and addresses, leased from the engine. One file a kind of call.

mod addresses;
mod pools;

use serde_json::json;

use crate::call::Method;

/// The method of the IPAM driver with this name; none when there is no such method.
pub(crate) fn method(name: &str) -> Option<Method> {
    Some(match name {
        "Plugin.Activate" => Method::Fixed(json!({ "Implements": ["IpamDriver"] })),
        // Docker repeats the pools and gateways of its networks when it starts, so nothing is lost with our records.
        "IpamDriver.GetCapabilities" => {
            Method::Fixed(json!({ "RequiresMACAddress": false, "RequiresRequestReplay": true }))
        }
        "IpamDriver.GetDefaultAddressSpaces" => Method::Fixed(
            json!({ "LocalDefaultAddressSpace": "hns", "GlobalDefaultAddressSpace": "hns-global" }),
        ),
        "IpamDriver.RequestPool" => Method::Engine(pools::request),
        "IpamDriver.ReleasePool" => Method::Engine(pools::release),
        "IpamDriver.RequestAddress" => Method::Engine(addresses::request),
        "IpamDriver.ReleaseAddress" => Method::Engine(addresses::release),
        _ => return None,
    })
}
