//! `prevResult`: what the runtime was told by the ADDs of the whole chain.

use std::net::IpAddr;

use hns_net::{Cidr, IfAddr, Mac};

use crate::conf::Outline;
use crate::failure::Failure;
use crate::object::{Found, Object};

/// A result as it came back, with the places in it.
#[derive(Debug)]
pub(crate) struct Told {
    pub interfaces: Vec<ToldInterface>,
    pub ips: Vec<ToldIp>,
    pub routes: Vec<ToldRoute>,
    pub dns: ToldDns,
}

#[derive(Debug)]
pub(crate) struct ToldInterface {
    pub path: String,
    pub name: String,
    /// As a text: the interfaces of other plugins may have addresses of another kind.
    pub mac: Option<String>,
    pub sandbox: Option<String>,
    pub mtu: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct ToldIp {
    pub path: String,
    pub address: IfAddr,
    pub gateway: Option<IpAddr>,
    /// Its interface's place; absent: not said.
    pub interface: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct ToldRoute {
    pub path: String,
    pub destination: Cidr,
    pub gateway: Option<IpAddr>,
    pub priority: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct ToldDns {
    pub nameservers: Vec<String>,
    pub domain: Option<String>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

impl Told {
    pub fn read(outline: &Outline) -> Result<Self, Failure> {
        let mut conf = Object::of_map(&outline.document);
        let found = conf.take("prevResult").ok_or_else(|| Failure::invalid("prevResult", "missing"))?;
        let mut result = Object::of(&found)?;
        let interfaces =
            result.list("interfaces")?.iter().map(ToldInterface::read).collect::<Result<_, _>>()?;
        let ips = result.list("ips")?.iter().map(ToldIp::read).collect::<Result<_, _>>()?;
        let routes = result.list("routes")?.iter().map(ToldRoute::read).collect::<Result<_, _>>()?;
        let dns = result.object("dns")?.map(ToldDns::read).transpose()?.unwrap_or_default();
        Ok(Self { interfaces, ips, routes, dns })
    }

    /// The place of the interface with this name: inside a container, or on the host.
    pub fn place(&self, name: &str, inside: bool) -> Option<usize> {
        let is_it = |one: &ToldInterface| one.name == name && one.sandbox.is_some() == inside;
        self.interfaces.iter().position(is_it)
    }

    /// The addresses of the interface at this place. Those that name no interface are its, too.
    pub fn ips_of(&self, place: usize) -> impl Iterator<Item = &ToldIp> {
        self.ips.iter().filter(move |ip| ip.interface.is_none_or(|interface| interface == place))
    }

    pub fn route(&self, destination: Cidr, gateway: Option<IpAddr>) -> Option<&ToldRoute> {
        self.routes.iter().find(|told| (told.destination, told.gateway) == (destination, gateway))
    }
}

impl ToldInterface {
    fn read(found: &Found<'_>) -> Result<Self, Failure> {
        let mut object = Object::of(found)?;
        Ok(Self {
            path: found.path.clone(),
            name: object.text("name")?.unwrap_or_default().to_owned(),
            mac: object.text("mac")?.map(str::to_owned),
            sandbox: object.text("sandbox")?.map(str::to_owned),
            mtu: object.number("mtu")?.filter(|mtu| *mtu > 0),
        })
    }

    pub fn parsed_mac(&self) -> Result<Option<Mac>, Failure> {
        let field = || format!("{}.mac", self.path);
        let parse = |text: &String| {
            text.parse().map_err(|error| Failure::invalid(field(), format!("{text:?}: {error}")))
        };
        self.mac.as_ref().map(parse).transpose()
    }
}

impl ToldIp {
    fn read(found: &Found<'_>) -> Result<Self, Failure> {
        let mut object = Object::of(found)?;
        let missing = object.invalid("address", "missing");
        let interface = object.number("interface")?;
        Ok(Self {
            path: found.path.clone(),
            address: object.parsed("address")?.ok_or(missing)?,
            gateway: object.parsed("gateway")?,
            interface: interface.map(|place| usize::try_from(place).unwrap_or(usize::MAX)),
        })
    }
}

impl ToldRoute {
    fn read(found: &Found<'_>) -> Result<Self, Failure> {
        let mut object = Object::of(found)?;
        let missing = object.invalid("dst", "missing");
        Ok(Self {
            path: found.path.clone(),
            destination: object.parsed("dst")?.ok_or(missing)?,
            gateway: object.parsed("gw")?,
            priority: object.number("priority")?,
        })
    }
}

impl ToldDns {
    fn read(mut object: Object<'_>) -> Result<Self, Failure> {
        Ok(Self {
            nameservers: object.parsed_list("nameservers")?,
            domain: object.text("domain")?.map(str::to_owned),
            search: object.parsed_list("search")?,
            options: object.parsed_list("options")?,
        })
    }
}
