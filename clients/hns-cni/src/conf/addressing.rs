//! Subnets, ranges, addresses and routes: the shapes of host-local, static and the Windows plugins in one.

use std::net::IpAddr;
use std::str::FromStr;

use hns_hcn::Route;
use hns_net::{Cidr, CidrError, Family, IfAddr};

use crate::failure::Failure;
use crate::object::{Found, Object};

/// A subnet of the network, with the part of it that dynamic addresses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    pub prefix: Cidr,
    pub gateway: Option<IpAddr>,
    /// First and last address; absent: all of the subnet.
    pub range: Option<(IpAddr, IpAddr)>,
}

/// An address that somebody asks for, with or without the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requested {
    pub address: IpAddr,
    pub length: Option<u8>,
}

impl FromStr for Requested {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        if let Ok(address) = text.parse() {
            return Ok(Self { address, length: None });
        }
        let address: IfAddr = text.parse()?;
        Ok(Self { address: address.address(), length: Some(address.length()) })
    }
}

impl Subnet {
    /// Takes a subnet in any of its shapes: `"10.1.0.0/24"`, or `{"subnet", "rangeStart", "rangeEnd", "gateway"}`.
    fn of(found: &Found<'_>) -> Result<Self, Failure> {
        if found.value.is_string() {
            let prefix = found.parsed()?.ok_or_else(|| found.expected("an address prefix"))?;
            return Ok(Self { prefix, gateway: None, range: None });
        }
        let mut object = Object::of(found)?;
        let gateway = object.take("gateway");
        let mut subnet = Self::take(&mut object)?.ok_or_else(|| object.invalid("subnet", "missing"))?;
        if let Some(found) = gateway
            && let Some(gateway) = found.parsed()?
        {
            Self::set_gateway(std::slice::from_mut(&mut subnet), gateway, &found.path)?;
        }
        object.finish("a range has subnet, rangeStart, rangeEnd and gateway")?;
        Ok(subnet)
    }

    /// Takes the keys of one subnet that stand flat in an object.
    fn take(object: &mut Object<'_>) -> Result<Option<Self>, Failure> {
        let start: Option<IpAddr> = object.parsed("rangeStart")?;
        let end: Option<IpAddr> = object.parsed("rangeEnd")?;
        let Some(prefix) = object.parsed::<Cidr>("subnet")? else {
            return match start.or(end) {
                None => Ok(None),
                Some(_) => Err(object.invalid("subnet", "missing, though a range in it is given")),
            };
        };
        let inside = |key: &str, address: Option<IpAddr>| match address {
            Some(address) if !prefix.contains(address) => {
                Err(object.invalid(key, format!("{address} is not in {prefix}")))
            }
            _ => Ok(()),
        };
        inside("rangeStart", start)?;
        inside("rangeEnd", end)?;
        let range = match (start, end) {
            (None, None) => None,
            _ => Some((start.unwrap_or(prefix.network()), end.unwrap_or(prefix.last()))),
        };
        if range.is_some_and(|(start, end)| start > end) {
            return Err(object.invalid("rangeEnd", "before the range's start"));
        }
        Ok(Some(Self { prefix, gateway: None, range }))
    }

    /// Takes all subnets that an object names: a flat one, `subnets`, and `ranges`, host-local's list of lists. A
    /// `gateway` is that of the subnet it lies in.
    pub(crate) fn take_all(object: &mut Object<'_>) -> Result<Vec<Self>, Failure> {
        let gateway = object.take("gateway");
        let mut subnets: Vec<Self> = Self::take(object)?.into_iter().collect();
        for found in object.list("subnets")? {
            subnets.push(Self::of(&found)?);
        }
        if let Some(found) = object.take("ranges") {
            subnets.extend(Self::of_ranges(&found)?);
        }
        if let Some(found) = gateway
            && let Some(gateway) = found.parsed()?
        {
            Self::set_gateway(&mut subnets, gateway, &found.path)?;
        }
        Ok(subnets)
    }

    /// Makes `gateway` that of the subnet it lies in.
    pub(crate) fn set_gateway(subnets: &mut [Self], gateway: IpAddr, path: &str) -> Result<(), Failure> {
        let holder = subnets.iter_mut().find(|subnet| subnet.prefix.contains(gateway));
        let holder = holder.ok_or_else(|| Failure::invalid(path, format!("{gateway} is in no subnet")))?;
        holder.gateway = Some(gateway);
        Ok(())
    }

    /// Ranges as host-local and the `ipRanges` capability have them: a list of lists.
    pub(crate) fn of_ranges(found: &Found<'_>) -> Result<Vec<Self>, Failure> {
        let mut subnets = Vec::new();
        for set in found.list()? {
            for range in set.list()? {
                subnets.push(Self::of(&range)?);
            }
        }
        Ok(subnets)
    }

    /// The blocks that cover the range exactly, largest first where they fit.
    pub(crate) fn blocks(&self) -> Vec<Cidr> {
        let Some((start, end)) = self.range else { return Vec::new() };
        let bits = self.prefix.family().bits();
        let (mut next, last) = (number(start), number(end));
        let mut blocks = Vec::new();
        while next <= last {
            let aligned = if next == 0 { u32::from(bits) } else { next.trailing_zeros().min(bits.into()) };
            let room = last - next;
            // The largest block that begins here and does not pass the end.
            let size = (0..=aligned).rev().find(|size| span(*size) <= room).unwrap_or(0);
            let length = bits - u8::try_from(size).unwrap_or(bits);
            blocks.extend(Cidr::new(address(next, self.prefix.family()), length));
            match next.checked_add(span(size)).and_then(|end| end.checked_add(1)) {
                Some(after) => next = after,
                None => break,
            }
        }
        blocks
    }

    /// Where plugins for Windows expect the host's own endpoint, which is the gateway of containers: beside the network's `.1`.
    pub(crate) fn bridge_gateway(&self) -> Option<IpAddr> {
        self.beyond(2)
    }

    /// Lets nobody have that by chance.
    pub(crate) fn keep_bridge_gateway(&mut self) {
        self.range = self.range.or(self.beyond(3).map(|start| (start, self.prefix.last())));
    }

    fn beyond(&self, offset: u128) -> Option<IpAddr> {
        let found = address(number(self.prefix.network()).checked_add(offset)?, self.prefix.family());
        self.prefix.contains(found).then_some(found)
    }

    /// Whether a dynamic address may come from here.
    pub(crate) fn offers(&self, address: IpAddr) -> bool {
        self.prefix.contains(address)
            && self.range.is_none_or(|(start, end)| (start..=end).contains(&address))
    }
}

/// One less than the addresses of a block with so many free bits.
fn span(bits: u32) -> u128 {
    1_u128.checked_shl(bits).map_or(u128::MAX, |size| size - 1)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn address(number: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
        Family::V6 => IpAddr::V6(number.into()),
    }
}

/// Routes of a configuration or of an IPAM plugin's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Routes with a gateway of their own.
    pub routes: Vec<Route>,
    /// Destinations without one: they go where the default route goes.
    pub by_gateway: Vec<Cidr>,
    /// Gateways without a destination, as Windows configurations name the subnet's gateway.
    pub gateways: Vec<IpAddr>,
}

/// Attributes of routes that came with CNI 1.1.0 and that an endpoint's routes do not have.
const NOT_OURS: [&str; 4] = ["mtu", "advmss", "table", "scope"];

impl Routes {
    pub(crate) fn of_list(list: &[Found<'_>]) -> Result<Self, Failure> {
        let mut routes = Self::default();
        for found in list {
            routes.add(found)?;
        }
        Ok(routes)
    }

    fn add(&mut self, found: &Found<'_>) -> Result<(), Failure> {
        let mut object = Object::of(found)?;
        let destination: Option<Cidr> = object.parsed("dst")?;
        let gateway: Option<IpAddr> = object.parsed("gw")?.or(object.parsed("gateway")?);
        let metric = object.number("priority")?.unwrap_or(0);
        let metric = u16::try_from(metric).map_err(|_| object.invalid("priority", "at most 65535"))?;
        for key in NOT_OURS {
            if let Some(found) = object.take(key).filter(|found| !found.is_empty()) {
                return Err(found.unsupported("routes here have a destination, a gateway and a priority"));
            }
        }
        object.finish("a route has dst, gw and priority")?;
        match (destination, gateway) {
            (Some(destination), Some(hop)) if destination.family() != Family::of(hop) => {
                let problem = format!("{hop} cannot be the gateway to {destination}");
                return Err(Failure::invalid(&found.path, problem));
            }
            (Some(destination), Some(hop)) => {
                self.routes.push(Route { destination, next_hop: Some(hop), metric });
            }
            (Some(destination), None) => self.by_gateway.push(destination),
            (None, Some(gateway)) => self.gateways.push(gateway),
            (None, None) => return Err(Failure::invalid(&found.path, "a route needs dst, gw or both")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: &Value) -> Result<Vec<Subnet>, Failure> {
        Subnet::take_all(&mut Object::of(&Found { path: "ipam".to_owned(), key: "ipam", value }).unwrap())
    }

    fn blocks(start: &str, end: &str, prefix: &str) -> Vec<String> {
        let range = Some((start.parse().unwrap(), end.parse().unwrap()));
        let subnet = Subnet { prefix: prefix.parse().unwrap(), gateway: None, range };
        subnet.blocks().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn subnets_come_in_all_shapes() {
        let value = json!({"subnet": "10.1.0.0/24", "gateway": "10.1.0.254", "subnets": ["10.2.0.0/24"],
            "ranges": [[{"subnet": "10.3.0.0/24", "rangeStart": "10.3.0.10", "rangeEnd": "10.3.0.20"}],
                       [{"subnet": "fd00::/64", "gateway": "fd00::1"}]]});
        let subnets = read(&value).unwrap();
        let shown: Vec<_> = subnets.iter().map(|subnet| subnet.prefix.to_string()).collect();
        assert_eq!(shown, ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", "fd00::/64"]);
        assert_eq!(subnets[0].gateway, Some("10.1.0.254".parse().unwrap()));
        assert!(subnets[2].offers("10.3.0.10".parse().unwrap()));
        assert!(!subnets[2].offers("10.3.0.21".parse().unwrap()));
        assert!(subnets[1].offers("10.2.0.99".parse().unwrap()));
    }

    #[test]
    fn a_range_lies_in_its_subnet_in_order() {
        for (value, said) in [
            (json!({"rangeStart": "10.1.0.2"}), "ipam.subnet: missing"),
            (
                json!({"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.2"}),
                "ipam.rangeStart: 10.2.0.2 is not in",
            ),
            (json!({"subnet": "10.1.0.0/24", "gateway": "fd00::1"}), "ipam.gateway: fd00::1 is in no subnet"),
            (
                json!({"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}),
                "ipam.rangeEnd: before",
            ),
            (json!({"ranges": [{"subnet": "10.1.0.0/24"}]}), "ipam.ranges[0]: expected a list"),
            (json!({"ranges": [[{"subnet": "10.1.0.0/24", "x": 1}]]}), "ipam.ranges[0][0].x = 1"),
        ] {
            let failure = read(&value).unwrap_err().to_string();
            assert!(failure.starts_with(said), "{failure}");
        }
    }

    #[test]
    fn a_range_is_covered_by_blocks_exactly() {
        assert_eq!(
            blocks("10.1.0.10", "10.1.0.20", "10.1.0.0/24"),
            ["10.1.0.10/31", "10.1.0.12/30", "10.1.0.16/30", "10.1.0.20/32"]
        );
        assert_eq!(blocks("10.1.0.0", "10.1.0.255", "10.1.0.0/24"), ["10.1.0.0/24"]);
        assert_eq!(blocks("0.0.0.0", "255.255.255.255", "0.0.0.0/0"), ["0.0.0.0/0"]);
        let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(blocks("::", all, "::/0"), ["::/0"]);
        assert_eq!(blocks(all, all, "::/0"), [format!("{all}/128")]);
    }

    proptest::proptest! {
        #[test]
        fn blocks_hold_every_address_of_the_range_and_no_other(one: u16, other: u16, base: u32) {
            let address = |low: u16| IpAddr::V4(((base & 0xffff_0000) | u32::from(low)).into());
            let (start, end) = (address(one.min(other)), address(one.max(other)));
            let prefix = Cidr::new(start, 16).unwrap();
            let blocks = Subnet { prefix, gateway: None, range: Some((start, end)) }.blocks();
            let mut next = number(start);
            for block in &blocks {
                proptest::prop_assert_eq!(number(block.network()), next);
                next = number(block.last()) + 1;
            }
            proptest::prop_assert_eq!(next, number(end) + 1);
            proptest::prop_assert!(blocks.len() <= 32);
        }
    }

    #[test]
    fn routes_of_every_plugin_are_understood() {
        let list = json!([{"dst": "10.9.0.0/16", "gw": "10.1.0.9", "priority": 5}, {"dst": "0.0.0.0/0"},
            {"GW": "10.1.0.2"}, {"gateway": "10.1.0.1"}]);
        let routes = Routes::of_list(&Found { path: "r".to_owned(), key: "r", value: &list }.list().unwrap());
        let routes = routes.unwrap();
        assert_eq!(routes.routes[0].metric, 5);
        assert_eq!(routes.by_gateway, ["0.0.0.0/0".parse().unwrap()]);
        assert_eq!(routes.gateways.len(), 2);
        for (route, said) in [
            (json!([{}]), "r[0]: a route needs"),
            (json!([{"dst": "fd00::/8", "gw": "10.1.0.1"}]), "r[0]: 10.1.0.1 cannot be the gateway"),
            (json!([{"dst": "10.0.0.0/8", "mtu": 1400}]), "r[0].mtu = 1400 is not supported"),
        ] {
            let list = Found { path: "r".to_owned(), key: "r", value: &route }.list().unwrap();
            let failure = Routes::of_list(&list).unwrap_err().to_string();
            assert!(failure.starts_with(said), "{failure}");
        }
    }
}
