//! Addresses of IPv6, made of what a LAN's routers advertise (RFC 4862).
//!
//! An endpoint goes by one router: the first that is a way out, or else the first that gives addresses. It is asked again when half
//! of what it promised for the shortest time is over, and all of them when most of that is.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use hns_hcn::Route;
use hns_model::{FOREVER, Grant, LanLease, LanServer, LeasePhase, Term};
use hns_net::{Cidr, Family, IfAddr};

use crate::client::wire;
use crate::error::Giver;
use crate::neighbours::{self, Advertisement, Heard};
use crate::{Client, ResolverError, Wire};

/// When routers are asked again, after the time before. One that has just advertised waits up to 3.5 s before it answers everybody
/// (RFC 4861 section 6.2.6).
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(2)];
const RENEWAL_PATIENCE: Duration = Duration::from_secs(4);

/// How often, and for how long each time, it is asked whether somebody has an address. RFC 4862 waits for a second, once.
const PROBES: usize = 2;
const PROBE_PATIENCE: Duration = Duration::from_millis(150);

/// How long counts what a router says that neither is a way out nor names a prefix, in seconds (RFC 4861 section 6.2.1).
const LIFETIME: u32 = 1800;

/// For so long all routers are waited for, in seconds.
fn patience() -> u64 {
    PAUSES.iter().sum::<Duration>().as_secs()
}

/// Asks the routers for an address, and makes sure that nobody else has it. `now` is the moment of the question.
pub(crate) fn acquire(wire: &dyn Wire, client: &Client, now: u64) -> Result<LanLease, ResolverError> {
    let mut told = None;
    let mut questions = 0;
    for pause in PAUSES {
        questions += 1;
        ask(wire, client)?;
        let way_out = hear(wire, pause, |said| {
            let lease = lease(&said, client, now);
            if said.lifetime > 0 && lease.is_ok() {
                return Some(lease);
            }
            // The first that gives an address, or else the first that says why not.
            if told.as_ref().is_none_or(|before: &Result<_, _>| before.is_err() && lease.is_ok()) {
                told = Some(lease);
            }
            None
        })?;
        if let Some(lease) = way_out.or_else(|| told.take_if(|told| told.is_ok())) {
            let lease = lease?;
            look_for_holders(wire, client, &lease, None)?;
            return Ok(lease);
        }
    }
    told.unwrap_or(Err(ResolverError::NoRouter { questions, seconds: patience() }))
}

/// Asks the lease's router, once, or whichever answers when that is due.
pub(crate) fn renew(
    wire: &dyn Wire,
    client: &Client,
    before: &LanLease,
    now: u64,
) -> Result<LanLease, ResolverError> {
    let is_anybody_asked = before.term.phase(now) >= LeasePhase::Rebinding;
    ask(wire, client)?;
    let answer = hear(wire, RENEWAL_PATIENCE, |said| {
        let is_same = IpAddr::from(said.router) == before.server.address;
        let is_way_out = said.lifetime > 0 || !before.routes.iter().any(Route::is_default);
        let renewed = lease(&said, client, now);
        match is_anybody_asked {
            true => renewed.is_ok().then_some(renewed),
            false => (is_same && (is_way_out || renewed.is_err())).then_some(renewed),
        }
    })?;
    let unanswered = ResolverError::Unanswered { giver: Giver::of(before), subject: before.subject() };
    let renewed = answer.unwrap_or(Err(unanswered))?;
    look_for_holders(wire, client, &renewed, Some(before))?;
    Ok(renewed)
}

fn ask(lan: &dyn Wire, client: &Client) -> Result<(), ResolverError> {
    lan.send(&neighbours::router_solicitation(client.mac)).map_err(wire("ask"))
}

/// The first advertisement of which `chosen` makes something, if one comes in time.
fn hear<T>(
    lan: &dyn Wire,
    patience: Duration,
    mut chosen: impl FnMut(Advertisement) -> Option<T>,
) -> Result<Option<T>, ResolverError> {
    let end = Instant::now() + patience;
    loop {
        let rest = end.saturating_duration_since(Instant::now());
        let Some(frame) = lan.receive(rest).map_err(wire("hear"))? else { return Ok(None) };
        if let Some(Heard::Router(said)) = neighbours::read(&frame)
            && let Some(found) = chosen(said)
        {
            return Ok(Some(found));
        }
        if rest.is_zero() {
            return Ok(None);
        }
    }
}

/// Refuses an address that somebody else has, of those that `before` did not give.
fn look_for_holders(
    wire: &dyn Wire,
    client: &Client,
    lease: &LanLease,
    before: Option<&LanLease>,
) -> Result<(), ResolverError> {
    let is_new = |address: &&IfAddr| !before.is_some_and(|before| before.addresses.contains(address));
    for address in lease.addresses.iter().filter(is_new).map(|address| address.address()) {
        if let IpAddr::V6(asked) = address
            && let Some(holder) = holder_of(wire, client, asked)?
        {
            return Err(ResolverError::Conflict { giver: Giver::of(lease), address, holder });
        }
    }
    Ok(())
}

fn holder_of(
    lan: &dyn Wire,
    client: &Client,
    asked: Ipv6Addr,
) -> Result<Option<hns_net::Mac>, ResolverError> {
    for _ in 0..PROBES {
        lan.send(&neighbours::probe(client.mac, asked)).map_err(wire("ask"))?;
        let end = Instant::now() + PROBE_PATIENCE;
        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            let Some(frame) = lan.receive(rest).map_err(wire("hear"))? else { break };
            match neighbours::read(&frame) {
                Some(Heard::Claim { mac, address }) if address == asked && mac != client.mac => {
                    return Ok(Some(mac));
                }
                _ => {}
            }
        }
    }
    Ok(None)
}

/// What an advertisement is worth to a container, counted from when it was asked for.
fn lease(said: &Advertisement, client: &Client, now: u64) -> Result<LanLease, ResolverError> {
    let router = said.router;
    let mut addresses: Vec<IfAddr> = Vec::new();
    for prefix in &said.prefixes {
        let length = if prefix.is_on_link { 64 } else { Family::V6.bits() };
        let made = IfAddr::new(prefix.address_of(client.mac).into(), length)
            .expect("an address of IPv6 has up to 128 bits");
        if !addresses.iter().any(|other| other.address() == made.address()) {
            addresses.push(made);
        }
    }
    if addresses.is_empty() && !said.is_managed {
        return Err(ResolverError::NoPrefix { router });
    }
    if let Some((_, further)) = addresses.split_first_mut() {
        further.sort_unstable();
    }
    let to = |destination: Cidr, next_hop: Option<IpAddr>| Route { destination, next_hop, metric: 0 };
    let way_out = (said.lifetime > 0).then(|| to(Family::V6.default_route(), Some(router.into())));
    // What an address of the container's covers is on its link by that. The addresses of a DHCPv6 server cover nothing.
    let mut on_link: Vec<Cidr> = said.on_link.iter().map(|(prefix, _)| *prefix).collect();
    on_link.retain(|prefix| !addresses.iter().any(|address| address.prefix() == *prefix));
    on_link.sort_unstable();
    on_link.dedup();
    Ok(LanLease {
        grant: Grant::Advertised { is_managed: said.is_managed },
        addresses,
        routes: way_out.into_iter().chain(on_link.into_iter().map(|prefix| to(prefix, None))).collect(),
        dns: said.dns.iter().copied().map(Into::into).collect(),
        domain: None,
        search: Vec::new(),
        server: LanServer { address: router.into(), mac: said.mac },
        term: term(said, now),
    })
}

/// It holds for as long as all of its prefixes do; the router is asked for more time while it still counts as a way out.
fn term(said: &Advertisement, obtained: u64) -> Term {
    let of_router = Some(u32::from(said.lifetime)).filter(|seconds| *seconds > 0);
    let of_prefixes = said.prefixes.iter().map(|prefix| prefix.valid);
    let lifetime = of_prefixes.chain(said.on_link.iter().map(|(_, valid)| *valid)).min();
    let lifetime = lifetime.or(of_router).unwrap_or(LIFETIME);
    let soonest = of_router.map_or(lifetime, |seconds| seconds.min(lifetime));
    if soonest == FOREVER {
        return Term { obtained, renew_after: FOREVER, rebind_after: FOREVER, lifetime };
    }
    Term { obtained, renew_after: soonest / 2, rebind_after: soonest - soonest.div_ceil(8), lifetime }
}
