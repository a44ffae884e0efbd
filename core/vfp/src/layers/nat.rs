//! OutBoundNAT: the source of what leaves an endpoint.

use hns_abi::Reason;

use crate::flow::Tuple;
use crate::interpreter::{Half, Memory};
use crate::packet::Ip;

pub(crate) fn outward(
    _half: Half<'_>,
    _memory: &Memory,
    _tuple: &Tuple,
    _ip: &Ip,
) -> Result<Option<Tuple>, Reason> {
    Ok(None)
}
