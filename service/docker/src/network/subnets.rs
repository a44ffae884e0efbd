use std::collections::BTreeMap;
use std::net::IpAddr;

use hns_net::{Cidr, Family, IfAddr};

use crate::refusal::Refusal;
use crate::wire::{CreateNetwork, IpamData};

/// The subnets that Docker's IPAM driver gave a network.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subnets {
    pub named: Vec<Subnet>,
    /// The families of which the IPAM driver leaves the choice to us.
    pub open: Vec<Family>,
    /// Addresses with names, never to be handed out.
    pub aux: BTreeMap<String, IpAddr>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    pub prefix: Cidr,
    pub gateway: Option<IpAddr>,
}

impl Subnets {
    pub fn read(request: &CreateNetwork) -> Result<Self, Refusal> {
        let mut subnets = Self::default();
        for (family, data) in
            request.v4.iter().map(|data| (Family::V4, data)).chain(request.v6.iter().map(|d| (Family::V6, d)))
        {
            subnets.add(family, data)?;
        }
        Ok(subnets)
    }

    fn add(&mut self, family: Family, data: &IpamData) -> Result<(), Refusal> {
        for (name, value) in &data.aux_addresses {
            self.aux.insert(name.clone(), address("AuxAddresses", value, "an address")?);
        }
        if data.pool.is_empty() {
            self.open.push(family);
            return Ok(());
        }
        let wrong = |expected| Refusal::Field { field: "Pool", value: data.pool.clone(), expected };
        let prefix: Cidr = data.pool.parse().map_err(|_| wrong("an address prefix"))?;
        if prefix.family() != family {
            return Err(wrong(if family == Family::V4 { "an IPv4 prefix" } else { "an IPv6 prefix" }));
        }
        if prefix.is_default() {
            self.open.push(family);
            return Ok(());
        }
        let gateway = (!data.gateway.is_empty()).then_some(data.gateway.as_str());
        let gateway = gateway.map(|value| address("Gateway", value, "an address")).transpose()?;
        self.named.push(Subnet { prefix, gateway });
        Ok(())
    }
}

/// An address that stands alone or with the length of its subnet.
fn address(field: &'static str, value: &str, expected: &'static str) -> Result<IpAddr, Refusal> {
    let with_length = value.parse::<IfAddr>().map(IfAddr::address).ok();
    let address = with_length.or_else(|| value.parse().ok());
    address.ok_or_else(|| Refusal::Field { field, value: value.to_owned(), expected })
}
