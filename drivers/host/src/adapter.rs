//! Adapters that external switches share with the host: which can be shared, and what must be asked of them.
//!
//! An adapter takes in frames for its own station, and for others when it is told to: an entry of its filter for each container,
//! and all multicast, which containers and the host join without asking it. What we told an adapter stands in our folder, so that
//! another life of the daemon takes back exactly that:
//!
//! ```text
//! adapters/eth0/switch-hns1a2b3c4d         an external switch that shares it
//!               station-00-15-5D-..        an entry of its filter
//!               all-multicast              it took in less before
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hns_net::{Cidr, Family, IfName, Mac, Mtu, Uplink};
use hns_planner::{ObservedSwitch, Station};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::link::LinkFlags;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::link::{self, Link, named};
use crate::netlink::{Attributes, Batch, Netlink, Subject};
use crate::{Adapter, HostError, address, foreign_bridges, group};

/// `struct ndmsg`.
const HEADER_LEN: usize = 12;
const FLAGS_AT: usize = 10;
const NTF_SELF: u8 = 2;
const NDA_LLADDR: u16 = 2;

/// Kinds of links that carry no frames of further stations, or are a part of something else.
const UNFIT: [(&str, &str); 7] = [
    ("bridge", "is a bridge: where it leads to a LAN it is a network by itself"),
    ("macvlan", "is a macvlan, which takes in its own frames alone"),
    ("macvtap", "is a macvtap, which takes in its own frames alone"),
    ("ipvlan", "is an ipvlan, which takes in its own frames alone"),
    ("ipvtap", "is an ipvtap, which takes in its own frames alone"),
    ("vxlan", "is a VXLAN, not an adapter"),
    ("ifb", "only reflects frames"),
];

/// What an adapter is like, if it can be shared.
pub(crate) fn look(netlink: &mut Netlink, uplink: &Uplink) -> Result<Adapter, HostError> {
    let name = &uplink.adapter;
    let unfit = |why: String| HostError::AdapterUnfit { name: name.clone(), why };
    let Some(link) = link::find(netlink, name)? else {
        return Err(HostError::NoSuchAdapter { name: name.clone() });
    };
    if group::is_ours(link.group) {
        return Err(unfit("was made by hnsd itself".to_owned()));
    }
    if !link.ethernet {
        return Err(unfit("is no Ethernet adapter".to_owned()));
    }
    if let Some((_, why)) = UNFIT.iter().find(|(kind, _)| link.kind.as_deref() == Some(*kind)) {
        return Err(unfit((*why).to_owned()));
    }
    if let Some(upper) = link.bridge.map(|index| link::find_by_index(netlink, index)).transpose()?.flatten() {
        let what = upper.kind.as_deref().unwrap_or("device");
        let by_itself =
            if foreign_bridges::is_candidate(&upper) { ", which is a network by itself" } else { "" };
        return Err(unfit(format!("belongs to the {what} {}{by_itself}", upper.name)));
    }
    if is_wireless(name) {
        let why = "is wireless: its access point takes frames of the host's own station alone";
        return Err(unfit(why.to_owned()));
    }
    let mac = link.mac.ok_or_else(|| unfit("has no MAC address".to_owned()))?;
    Ok(Adapter { mtu: Mtu::new(link.mtu.into()).unwrap_or(Mtu::ETHERNET), mac })
}

fn is_wireless(name: &IfName) -> bool {
    let folder = Path::new("/sys/class/net").join(name.as_str());
    folder.join("phy80211").exists() || folder.join("wireless").exists()
}

/// How a switch shows of which nothing is left but what its adapter was told.
pub(crate) fn switch_without_bridge() -> ObservedSwitch {
    ObservedSwitch {
        up: false,
        mac: Mac::new([0; 6]),
        mtu: Mtu::ETHERNET,
        gateways: BTreeSet::new(),
        segments: BTreeSet::new(),
        loopback: false,
        wired: false,
        answers: false,
    }
}

/// By which links the frames of an uplink come to the host itself: the adapter, or what the host has made of it for the VLAN.
pub(crate) fn is_of_uplink(link: &Link, uplink: &Uplink, adapter: Option<u32>) -> bool {
    match uplink.vlan {
        None => link.name == uplink.adapter.as_str(),
        Some(vlan) => link.vlan == Some(vlan.number()) && link.peer.is_some() && link.peer == adapter,
    }
}

/// What we have told adapters.
#[derive(Debug)]
pub(crate) struct Told(PathBuf);

const SWITCH: &str = "switch-";
const STATION: &str = "station-";
const ALL_MULTICAST: &str = "all-multicast";

impl Told {
    pub(crate) const fn in_folder(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn folder(&self, adapter: &IfName) -> PathBuf {
        self.0.join(adapter.as_str())
    }

    /// Lets an adapter take in what a switch on it needs. One that is not there is told when it is.
    pub(crate) fn share(
        &self,
        netlink: &mut Netlink,
        adapter: &IfName,
        switch: &IfName,
    ) -> Result<(), HostError> {
        let folder = self.folder(adapter);
        note(&folder.join(format!("{SWITCH}{switch}")))?;
        match link::find(netlink, adapter)? {
            Some(link) if !link.all_multicast => {
                note(&folder.join(ALL_MULTICAST))?;
                set_all_multicast(netlink, adapter, true)
            }
            _ => Ok(()),
        }
    }

    /// Takes back what was told for a switch; with the last one of an adapter all of it.
    pub(crate) fn leave(&self, netlink: &mut Netlink, switch: &IfName) -> Result<(), HostError> {
        let mark = format!("{SWITCH}{switch}");
        for (adapter, notes) in self.all()?.into_iter().filter(|(_, notes)| notes.contains(&mark)) {
            let folder = self.folder(&adapter);
            let others = notes.iter().any(|note| note.starts_with(SWITCH) && *note != mark);
            if !others {
                for mac in notes.iter().filter_map(|note| mac_of(note)) {
                    self.remove_station(netlink, &Station { adapter: adapter.clone(), mac })?;
                }
                if notes.iter().any(|note| note == ALL_MULTICAST) {
                    set_all_multicast(netlink, &adapter, false)?;
                    forget(&folder.join(ALL_MULTICAST))?;
                }
            }
            forget(&folder.join(&mark))?;
            if !others {
                // What is not empty is still needed.
                let _ = fs::remove_dir(&folder);
            }
        }
        Ok(())
    }

    /// The switches for which adapters were told something.
    pub(crate) fn switches(&self) -> Result<BTreeSet<IfName>, HostError> {
        let notes = self.all()?.into_iter().flat_map(|(_, notes)| notes);
        Ok(notes.filter_map(|note| note.strip_prefix(SWITCH)?.parse().ok()).collect())
    }

    /// The switches whose adapter takes in what they need. One whose adapter is gone lacks that alone, which the datapath tells.
    pub(crate) fn served(&self, netlink: &mut Netlink) -> Result<BTreeSet<IfName>, HostError> {
        let mut served = BTreeSet::new();
        for (adapter, notes) in self.all()? {
            if link::find(netlink, &adapter)?.is_none_or(|link| link.all_multicast) {
                served.extend(notes.iter().filter_map(|note| note.strip_prefix(SWITCH)?.parse().ok()));
            }
        }
        Ok(served)
    }

    pub(crate) fn add_station(&self, netlink: &mut Netlink, station: &Station) -> Result<(), HostError> {
        note(&self.folder(&station.adapter).join(format!("{STATION}{}", station.mac)))?;
        let Some(index) = link::find_index(netlink, &station.adapter)? else {
            return Err(HostError::NoSuchAdapter { name: station.adapter.clone() });
        };
        let mut batch = Batch::new();
        let subject = Subject::new("let in", subject_of(station)).fine_if(&[libc::EEXIST]);
        let entry = RouteNetlinkMessage::NewNeighbour(entry(index, station.mac));
        batch.route(entry, NLM_F_CREATE | NLM_F_EXCL, subject);
        netlink.execute(&batch)
    }

    /// Fine if it is gone, or the adapter is.
    pub(crate) fn remove_station(&self, netlink: &mut Netlink, station: &Station) -> Result<(), HostError> {
        let folder = self.folder(&station.adapter);
        let path = folder.join(format!("{STATION}{}", station.mac));
        if !path.exists() {
            return Ok(());
        }
        if let Some(index) = link::find_index(netlink, &station.adapter)? {
            let mut batch = Batch::new();
            let gone = Subject::new("let in no longer", subject_of(station)).fine_if(&[
                libc::ENOENT,
                libc::ENODEV,
                libc::EINVAL,
            ]);
            batch.route(RouteNetlinkMessage::DelNeighbour(entry(index, station.mac)), 0, gone);
            netlink.execute(&batch)?;
        }
        forget(&path)?;
        // What is not empty is still needed.
        let _ = fs::remove_dir(&folder);
        Ok(())
    }

    /// The entries that we have made. One that somebody has taken away is shown as absent only while its adapter is there: without
    /// it there is nothing to add.
    pub(crate) fn stations(&self, netlink: &mut Netlink) -> Result<BTreeSet<Station>, HostError> {
        let mut stations = BTreeSet::new();
        for (adapter, notes) in self.all()? {
            let noted: BTreeSet<Mac> = notes.iter().filter_map(|note| mac_of(note)).collect();
            if noted.is_empty() {
                continue;
            }
            let Some(index) = link::find_index(netlink, &adapter)? else { continue };
            let shown = filter(netlink, index)?;
            let ours = noted.into_iter().filter(|mac| shown.contains(mac));
            stations.extend(ours.map(|mac| Station { adapter: adapter.clone(), mac }));
        }
        Ok(stations)
    }

    /// All adapters with what is noted of each.
    fn all(&self) -> Result<Vec<(IfName, Vec<String>)>, HostError> {
        let adapters = names(&self.0)?.into_iter().filter_map(|name| name.parse::<IfName>().ok());
        adapters
            .map(|adapter| {
                let notes = names(&self.folder(&adapter))?;
                Ok((adapter, notes))
            })
            .collect()
    }
}

fn mac_of(note: &str) -> Option<Mac> {
    note.strip_prefix(STATION)?.parse().ok()
}

fn subject_of(station: &Station) -> String {
    format!("station {} at adapter {}", station.mac, station.adapter)
}

fn entry(adapter: u32, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = adapter;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    message
}

/// The stations that an adapter's own filter lets in.
fn filter(netlink: &mut Netlink, adapter: u32) -> Result<BTreeSet<Mac>, HostError> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = adapter;
    let mut question = Batch::new();
    let subject = Subject::new("list", format!("stations at adapter number {adapter}"));
    question.route(RouteNetlinkMessage::GetNeighbour(message), NLM_F_DUMP, subject);
    let read = |payload: &[u8]| {
        let header: &[u8; HEADER_LEN] = payload.first_chunk()?;
        let [.., a, b, c, d, _, _, _, _] = *header;
        if u32::from_ne_bytes([a, b, c, d]) != adapter || header[FLAGS_AT] & NTF_SELF == 0 {
            return None;
        }
        let octets = Attributes::after(HEADER_LEN, payload).get(NDA_LLADDR)?;
        octets.try_into().ok().map(Mac::new)
    };
    Ok(netlink.dump(&question, read)?.into_iter().collect())
}

fn set_all_multicast(netlink: &mut Netlink, adapter: &IfName, on: bool) -> Result<(), HostError> {
    let mut message = named(adapter);
    message.header.change_mask |= LinkFlags::Allmulti;
    if on {
        message.header.flags |= LinkFlags::Allmulti;
    }
    let mut batch = Batch::new();
    let subject = Subject::new("change which multicast comes in by", format!("adapter {adapter}"));
    batch.route(RouteNetlinkMessage::SetLink(message), 0, subject.fine_if(&[libc::ENODEV]));
    netlink.execute(&batch)
}

fn note(path: &Path) -> Result<(), HostError> {
    let fail = |source| HostError::File { operation: "write", path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(fail)?;
    }
    fs::write(path, "").map_err(fail)
}

fn forget(path: &Path) -> Result<(), HostError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(HostError::File { operation: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn names(folder: &Path) -> Result<Vec<String>, HostError> {
    let fail = |source| HostError::File { operation: "list", path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(fail)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Where the host has a way to, but by links of ours and by the adapter of an uplink.
pub(crate) fn routes_beside(
    netlink: &mut Netlink,
    beside: Option<&Uplink>,
    ipv6: bool,
) -> Result<Vec<Cidr>, HostError> {
    let mut routes = address::list_routes(netlink, Family::V4)?;
    if ipv6 {
        routes.extend(address::list_routes(netlink, Family::V6)?);
    }
    routes.retain(address::Seen::is_reach);
    let links = link::find_all(netlink, routes.iter().filter_map(|route| route.link))?;
    let adapter = beside.map(|uplink| link::find_index(netlink, &uplink.adapter)).transpose()?.flatten();
    let is_beside = |link: &link::Link| beside.is_some_and(|uplink| is_of_uplink(link, uplink, adapter));
    let passed_over =
        |index| links.get(&index).is_some_and(|link| link.group == group::OURS || is_beside(link));
    routes.retain(|route| !route.link.is_some_and(passed_over));
    let mut prefixes: Vec<Cidr> = routes.into_iter().map(|route| route.destination).collect();
    prefixes.sort();
    prefixes.dedup();
    Ok(prefixes)
}

/// What the host itself has beside containers on the LAN of an uplink.
pub(crate) fn addresses_beside(
    netlink: &mut Netlink,
    uplink: &Uplink,
) -> Result<BTreeSet<IpAddr>, HostError> {
    let held = address::list(netlink, None)?;
    let links = link::find_all(netlink, held.iter().map(|held| held.link))?;
    let adapter = link::find_index(netlink, &uplink.adapter)?;
    // An endpoint's in the host's own namespace is in our books already.
    let others_ends = links.values().filter(|link| !link.peer_elsewhere).filter_map(|link| link.peer);
    let ends = link::find_all(netlink, others_ends)?;
    let is_vnic = |link: &link::Link| {
        let end = link.peer.filter(|_| !link.peer_elsewhere).and_then(|peer| ends.get(&peer));
        end.is_some_and(|end| group::is_ours(end.group))
    };
    let is_hosts = |link: &link::Link| match uplink.vlan {
        None => link.group != group::OURS && !is_vnic(link),
        Some(_) => is_of_uplink(link, uplink, adapter),
    };
    let own = held.into_iter().filter(|held| links.get(&held.link).is_some_and(is_hosts));
    Ok(own.map(|held| held.address.address()).collect())
}
