//! What Docker sends and reads, as it stands on the wire. Unknown fields are passed over, `null` and a missing field
//! are the same; what the values mean is decided elsewhere.

mod endpoint;
mod ipam;
mod network;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use crate::refusal::Refusal;

pub(crate) use endpoint::{
    CreateEndpoint, Interface, InterfaceName, Join, JoinAnswer, OfEndpoint, PortBinding, Program, StaticRoute,
};
pub(crate) use ipam::{ReleaseAddress, ReleasePool, RequestAddress, RequestPool};
pub(crate) use network::{CreateNetwork, GwAllocCheck, IpamData, OfNetwork};

/// Reads the body of a call. Docker repeats a call amid which we ended with the rest of its body, which is nothing
/// (moby's plugin client reads one buffer for all its attempts): that must not be taken for a call without wishes.
pub(crate) fn read<T: DeserializeOwned>(method: &'static str, body: &[u8]) -> Result<T, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::BodyLost { method });
    }
    serde_json::from_slice(body).map_err(|source| Refusal::Body { method, source })
}

/// Go writes an empty map, list or pointer as `null`.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
