//! Load balancers at the port of their client (hcn-api 5.7).

use hns_abi::Reason;
use hns_net::Guid;

use crate::flow::{Translation, Tuple};
use crate::interpreter::{Half, Memory};
use crate::model::{Balancer, Switchboard};

/// The load balancers that the ports of a network see.
pub fn of_network(board: &Switchboard, network: Guid) -> impl Iterator<Item = &Balancer> {
    board.balancers.values().filter(move |balancer| balancer.network == network)
}

pub(crate) fn outward(
    _half: Half<'_>,
    _memory: &mut Memory,
    _tuple: &Tuple,
) -> Result<Option<Translation>, Reason> {
    Ok(None)
}
