//! What another host has of an overlay, as command lines and options of engines write it.

use std::net::IpAddr;
use std::str::FromStr;

use hns_net::{Cidr, MacError, PublicKeyError, VniError};

use super::overlay::{RemoteSubnetRoute, is_of_a_host};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerTextError {
    #[error("\"{0}\" is no prefix of another host; write it as 10.244.2.0/24=198.51.100.2")]
    Form(String),
    #[error("\"{0}\" is no address of a host; write it as 10.244.2.0/24=198.51.100.2")]
    Host(String),
    #[error(transparent)]
    Vni(#[from] VniError),
    #[error(transparent)]
    Router(#[from] MacError),
    #[error(transparent)]
    Key(#[from] PublicKeyError),
    #[error("\"{0}\" says nothing of a host: vni=NUMBER, router=MAC, key=PUBLIC-KEY")]
    Word(String),
}

/// `PREFIX=HOST[,vni=NUMBER][,router=MAC][,key=PUBLIC-KEY]`.
impl FromStr for RemoteSubnetRoute {
    type Err = PeerTextError;

    fn from_str(text: &str) -> Result<Self, PeerTextError> {
        let no_prefix = || PeerTextError::Form(text.to_owned());
        let (prefix, rest) = text.split_once('=').ok_or_else(no_prefix)?;
        let destination: Cidr = prefix.trim().parse().map_err(|_| no_prefix())?;
        let mut words = rest.split(',').map(str::trim);
        let host = words.next().unwrap_or_default();
        let provider = host.parse::<IpAddr>().ok().filter(|address| is_of_a_host(*address));
        let provider = provider.ok_or_else(|| PeerTextError::Host(host.to_owned()))?;
        let mut route = Self { destination, vni: None, provider, router: None, public_key: None };
        for word in words {
            match word.split_once('=') {
                Some(("vni", number)) => route.vni = Some(number.parse()?),
                Some(("router", mac)) => route.router = Some(mac.parse()?),
                Some(("key", key)) => route.public_key = Some(key.parse()?),
                _ => return Err(PeerTextError::Word(word.to_owned())),
            }
        }
        Ok(route)
    }
}

/// The peers of an option's value, `PEER[;PEER..]`.
///
/// # Errors
/// When one is none, or there is none.
pub fn peers_of_option(value: &str) -> Result<Vec<RemoteSubnetRoute>, PeerTextError> {
    let peers: Vec<&str> = value.split(';').map(str::trim).filter(|peer| !peer.is_empty()).collect();
    if peers.is_empty() {
        return Err(PeerTextError::Form(value.to_owned()));
    }
    peers.into_iter().map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_prefix_and_a_host_and_what_differs() {
        let plain: RemoteSubnetRoute = "10.244.2.0/24=198.51.100.2".parse().unwrap();
        assert_eq!((plain.vni, plain.router), (None, None));
        let whole = "fd00:2::/64=2001:db8::2,vni=4097,router=0e-2a-c6-33-64-02".parse::<RemoteSubnetRoute>();
        let route = whole.unwrap();
        assert_eq!(route.vni.map(hns_net::Vni::number), Some(4097));
        assert!(route.router.is_some());
        let key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
        let route = format!("10.244.2.0/24=192.0.2.2,key={key}").parse::<RemoteSubnetRoute>().unwrap();
        assert_eq!(route.public_key.map(|key| key.to_string()).as_deref(), Some(key));
        for (wrong, said) in [
            ("", "is no prefix of another host"),
            ("10.244.2.0/24", "write it as 10.244.2.0/24=198.51.100.2"),
            ("10.244.2.0/33=192.0.2.1", "write it as"),
            ("10.244.2.0/24=x", "\"x\" is no address of a host"),
            ("10.244.2.0/24=224.0.0.1", "\"224.0.0.1\" is no address of a host"),
            ("10.244.2.0/24=1.2.3.4,5", "\"5\" says nothing of a host"),
            ("10.244.2.0/24=1.2.3.4,vni=0", "0 is no VNI"),
            ("10.244.2.0/24=1.2.3.4,vni=x", "\"x\" is no VNI"),
            ("10.244.2.0/24=1.2.3.4,key=x", "\"x\" is no public key"),
            ("10.244.2.0/24=1.2.3.4,router=01-00-5e-00-00-01", "is a group"),
        ] {
            let error = wrong.parse::<RemoteSubnetRoute>().unwrap_err().to_string();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }

    #[test]
    fn an_option_names_several() {
        let two = peers_of_option("10.4.2.0/24=192.0.2.2; fd00:2::/64=192.0.2.2,vni=7;").unwrap();
        assert_eq!(two.len(), 2);
        for wrong in ["", ";", "10.4.2.0/24=192.0.2.2,10.4.3.0/24=192.0.2.3"] {
            assert!(peers_of_option(wrong).is_err(), "{wrong}");
        }
    }
}
