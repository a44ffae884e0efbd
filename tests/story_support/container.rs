use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hns_testbed::{Netns, raw};
use serde_json::Value;

/// A namespace with an endpoint.
#[derive(Debug, Clone)]
pub struct Container {
    pub name: String,
    pub netns: Netns,
    /// The endpoint's.
    pub id: String,
    /// The endpoint as it was when it was created.
    pub document: Value,
}

impl Container {
    /// A namespace whose endpoint somebody made.
    ///
    /// # Panics
    /// When the document is not that of an endpoint.
    #[must_use]
    #[track_caller]
    pub fn new(name: &str, netns: Netns, document: Value) -> Self {
        Self { name: name.to_owned(), netns, id: super::text(&document, "ID"), document }
    }

    /// The endpoint's station.
    ///
    /// # Panics
    /// When the document shows none.
    #[must_use]
    #[track_caller]
    pub fn mac(&self) -> raw::Mac {
        raw::mac(&super::text(&self.document, "MacAddress"))
    }

    /// All addresses of the endpoint, IPv4 first.
    ///
    /// # Panics
    /// When the document shows something else.
    #[must_use]
    #[track_caller]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let list = self.document["IpConfigurations"].as_array().expect("an endpoint lists its addresses");
        let parse = |one: &Value| super::text(one, "IpAddress").parse().expect("an address is an address");
        list.iter().map(parse).collect()
    }

    /// The IPv4 address.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    #[track_caller]
    pub fn v4(&self) -> Ipv4Addr {
        let mut all = self.addresses().into_iter();
        all.find_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }).expect("it has IPv4")
    }

    /// The IPv6 address.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    #[track_caller]
    pub fn v6(&self) -> Ipv6Addr {
        let mut all = self.addresses().into_iter();
        all.find_map(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None }).expect("it has IPv6")
    }

    /// The address of the same family as another.
    #[must_use]
    #[track_caller]
    pub fn like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4().into() } else { self.v6().into() }
    }

    /// The name of the host's end.
    #[must_use]
    #[track_caller]
    pub fn port(&self) -> String {
        super::text(&self.document["Health"]["Extra"], "Port")
    }
}
