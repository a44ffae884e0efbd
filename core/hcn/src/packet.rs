use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hns_net::Mac;
use serde_json::{Map, Value, json};

use crate::code::ErrorCode;
use crate::fields::{DocumentError, Fields};
use crate::protocol::{EtherType, IpProtocol, TcpFlags};

const CODE: ErrorCode = ErrorCode::INVALID_PARAMETER;

/// What the first bytes of a packet tell, as far as they do (ours; a part of answers).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PacketWords {
    pub source_mac: Option<Mac>,
    pub destination_mac: Option<Mac>,
    pub ethertype: Option<EtherType>,
    /// IP addresses; of ARP those of the sender and the target.
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    pub protocol: Option<IpProtocol>,
    pub source_port: Option<u16>,
    pub destination_port: Option<u16>,
    pub tcp_flags: Option<TcpFlags>,
    /// Type and code of ICMP and ICMPv6.
    pub icmp: Option<(u8, u8)>,
}

impl PacketWords {
    pub(crate) fn from_fields(mut fields: Fields<'_>) -> Result<Self, DocumentError> {
        let kind = fields.number(&["IcmpType"], u8::MAX.into())?;
        let code = fields.number(&["IcmpCode"], u8::MAX.into())?;
        let icmp =
            kind.zip(code).and_then(|(kind, code)| Some((kind.try_into().ok()?, code.try_into().ok()?)));
        Ok(Self {
            source_mac: station(&mut fields, "SourceMac")?,
            destination_mac: station(&mut fields, "DestinationMac")?,
            ethertype: fields.parsed(&["EtherType"], CODE)?,
            source: fields.parsed(&["Source"], CODE)?,
            destination: fields.parsed(&["Destination"], CODE)?,
            protocol: fields.parsed(&["Protocol"], CODE)?,
            source_port: fields.number_u16(&["SourcePort"])?,
            destination_port: fields.number_u16(&["DestinationPort"])?,
            tcp_flags: fields.parsed(&["TcpFlags"], CODE)?,
            icmp,
        })
    }

    /// What the packet does not tell is absent.
    pub(crate) fn to_v2(&self) -> Value {
        let text = |value: &dyn fmt::Display| json!(value.to_string());
        let fields = [
            ("SourceMac", self.source_mac.as_ref().map(|mac| text(mac))),
            ("DestinationMac", self.destination_mac.as_ref().map(|mac| text(mac))),
            ("EtherType", self.ethertype.as_ref().map(|kind| text(kind))),
            ("Source", self.source.as_ref().map(|address| text(address))),
            ("SourcePort", self.source_port.map(|port| json!(port))),
            ("Destination", self.destination.as_ref().map(|address| text(address))),
            ("DestinationPort", self.destination_port.map(|port| json!(port))),
            ("Protocol", self.protocol.as_ref().map(|protocol| text(protocol))),
            ("TcpFlags", self.tcp_flags.as_ref().map(|flags| text(flags))),
            ("IcmpType", self.icmp.map(|(kind, _)| json!(kind))),
            ("IcmpCode", self.icmp.map(|(_, code)| json!(code))),
        ];
        let told = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Value::Object(told.collect::<Map<_, _>>())
    }

    /// The stations that sent it and that it is for.
    #[must_use]
    pub fn stations(&self) -> String {
        let word = |mac: Option<Mac>| mac.map_or_else(|| "?".to_owned(), |mac| mac.to_string());
        format!("{} -> {}", word(self.source_mac), word(self.destination_mac))
    }
}

/// A MAC address as it may stand in a frame: everybody's and groups' too, which no interface can have.
fn station(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<Mac>, DocumentError> {
    let wrong = fields.error(name, "expected six bytes such as 02-15-5D-00-00-01");
    let Some(text) = fields.text(&[name])? else { return Ok(None) };
    let is_byte = |byte: &str| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
    let bytes =
        text.split(['-', ':']).map(|byte| is_byte(byte).then(|| u8::from_str_radix(byte, 16).ok())?);
    let bytes: Option<Vec<u8>> = bytes.collect();
    let octets = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    octets.map(|octets| Some(Mac::new(octets))).ok_or(wrong)
}

/// `tcp 10.0.0.2:4000 -> 10.0.0.3:80`; of what has no addresses the stations.
impl fmt::Display for PacketWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.protocol, self.ethertype) {
            (Some(protocol), _) => write!(f, "{protocol} ")?,
            (None, Some(ethertype)) => write!(f, "{ethertype} ")?,
            (None, None) => f.write_str("frame ")?,
        }
        if let Some((kind, code)) = self.icmp {
            write!(f, "type {kind} code {code} ")?;
        }
        let side = |address: IpAddr, port: Option<u16>| match port {
            Some(port) => SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        match (self.source, self.destination) {
            (Some(source), Some(destination)) => {
                let (source, destination) =
                    (side(source, self.source_port), side(destination, self.destination_port));
                write!(f, "{source} -> {destination}")
            }
            _ => f.write_str(&self.stations()),
        }
    }
}
