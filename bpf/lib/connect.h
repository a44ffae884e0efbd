/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections: what is known passes, what is new is judged and remembered. The order of the questions is that of
 * core/vfp/src/interpreter/connection.rs.
 */
#ifndef HNS_CONNECT_H
#define HNS_CONNECT_H

#include "../layers/acl.h"
#include "flow.h"
#include "maps.h"
#include "packet.h"

static __always_inline void fragment_key_of(struct fragment_key *key, const struct port *port, const struct packet *packet,
					    int direction)
{
	key->port = port->id;
	key->id = packet->id;
	key->direction = direction;
	key->protocol = packet->protocol;
	key->zero[0] = 0;
	key->zero[1] = 0;
	key->source = packet->source;
	key->destination = packet->destination;
}

/* A later fragment has no ports: what became of the first one holds for it. */
__noinline int follow_fragment(struct packet *packet, struct port *port, int direction)
{
	struct fragment_key key;
	struct fragment *fragment;

	if (!packet || !port)
		return REASON_FRAGMENT;
	fragment_key_of(&key, port, packet, direction);
	fragment = bpf_map_lookup_elem(&fragments, &key);
	if (fragment && fragment->generation == port->generation &&
	    bpf_ktime_get_coarse_ns() - fragment->seen <= TIMEOUT_FRAGMENT)
		return REASON_NONE;
	return REASON_FRAGMENT;
}

__noinline int remember_fragment(struct packet *packet, struct port *port, int direction)
{
	struct fragment_key key;
	struct fragment fragment = {};

	if (!packet || !port)
		return 0;
	fragment_key_of(&key, port, packet, direction);
	fragment.seen = bpf_ktime_get_coarse_ns();
	fragment.generation = port->generation;
	bpf_map_update_elem(&fragments, &key, &fragment, BPF_ANY);
	return 0;
}

/* A flow older than the port's rules must still be allowed by them, in the direction it began. TCP that is not stays known, or its next
 * packet would be taken for one of a connection that nobody has followed (see `adopts`). */
static __always_inline int judge_again(struct half *half, struct packet *packet, struct port *port, struct flow_side *side, int shelf)
{
	int origin = side->origin;

	if (side->generation == port->generation) {
		packet->ruleset = port->ruleset[origin == DIR_OUT];
		packet->position = side->position;
		return REASON_NONE;
	}
	if (decide(port, half, packet, origin, side->icmp) == ACTION_ALLOW) {
		side->generation = port->generation;
		side->position = packet->position;
		return REASON_NONE;
	}
	count_rule(packet, port);
	if (half->key.protocol != IPPROTO_TCP)
		leave_side(side, shelf);
	return refused_by(origin);
}

/* The header of a quoted packet: its protocol, with `source` and `destination` filled; UNTOLD: cut short or a later fragment. */
#define UNTOLD (-1)

static __always_inline int quoted_ipv4(struct __sk_buff *skb, const struct packet *packet, __u32 *offset, struct addr *source,
				       struct addr *destination)
{
	struct iphdr ip;

	if (*offset + sizeof(ip) > packet->end || bpf_skb_load_bytes(skb, *offset, &ip, sizeof(ip)))
		return UNTOLD;
	if (ip.version != 4 || ip.ihl < 5 || ip.frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET))
		return UNTOLD;
	*offset += ip.ihl * 4;
	set_ipv4(source, ip.saddr);
	set_ipv4(destination, ip.daddr);
	return ip.protocol;
}

static __always_inline int quoted_ipv6(struct __sk_buff *skb, const struct packet *packet, __u32 *offset, struct addr *source,
				       struct addr *destination)
{
	__u32 first[2];

	if (*offset + 40 > packet->end || bpf_skb_load_bytes(skb, *offset, first, sizeof(first)) ||
	    bpf_skb_load_bytes(skb, *offset + 8, source, 16) || bpf_skb_load_bytes(skb, *offset + 24, destination, 16))
		return UNTOLD;
	if ((bpf_ntohl(first[0]) >> 28) != 6)
		return UNTOLD;
	*offset += 40;
	return bpf_ntohl(first[1]) >> 8 & 0xff;
}

/*
 * The connection that an ICMP error quotes (RFC 792, RFC 4443 section 2.4 c): its packet ran the other way. Fills `half->key`;
 * 0: cannot be told. Static, so that the verifier knows `half` to be on the stack: before Linux 6.2 a key that comes as a
 * global function's argument may not be looked up.
 */
static __noinline int quoted_key(struct __sk_buff *skb, struct packet *packet, struct port *port, struct half *half)
{
	struct addr source = {}, destination = {};
	__u32 offset = packet->transport + 8;
	__be16 transport[4], from = 0, to = 0;
	int protocol;

	if (packet->protocol == IPPROTO_ICMP)
		protocol = quoted_ipv4(skb, packet, &offset, &source, &destination);
	else
		protocol = quoted_ipv6(skb, packet, &offset, &source, &destination);
	/* An error goes to whom it is about. */
	if (protocol == UNTOLD || !same_address(&source, &packet->destination) || offset + 8 > packet->end ||
	    bpf_skb_load_bytes(skb, offset, transport, sizeof(transport)))
		return 0;
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == PROTOCOL_SCTP) {
		from = transport[0];
		to = transport[1];
	} else if (is_icmp(protocol)) {
		__u8 type = bpf_ntohs(transport[0]) >> 8;

		if (!is_echo_request(protocol, type) && !is_echo_reply(protocol, type))
			return 0;
		from = transport[2];
		to = from;
	}
	if (half->direction == DIR_IN)
		put_ends(half, port, protocol, &source, from, &destination, to);
	else
		put_ends(half, port, protocol, &destination, to, &source, from);
	return 1;
}

/* TCP in mid-stream is taken over for a while after the rules came: it may be the reply of what they allow. */
static __always_inline int adopts(const struct packet *packet, const struct port *port, __u64 now)
{
	return packet->protocol == IPPROTO_TCP && now < port->adopt_until && goes_on(packet);
}

/*
 * Only requests open flows among ICMP, and a flow is passed by its requests one way and its replies the other way: all else is
 * asked of the rules each time, or one allowed type would let in all.
 */
static __always_inline int fits(const struct packet *packet, const struct flow_side *side, int direction)
{
	__u8 type = packet->icmp >> 8;

	if (!is_icmp(packet->protocol))
		return 1;
	return direction == side->origin ? is_echo_request(packet->protocol, type) : is_echo_reply(packet->protocol, type);
}

/*
 * Whether a packet that passes leaves a flow: of ICMP an echo request; of TCP what opens a connection, or goes on with one that
 * nobody remembers. Such a one is half open until the other end is heard, as a new one is.
 */
static __always_inline int remembered(const struct packet *packet)
{
	if (is_icmp(packet->protocol))
		return is_echo_request(packet->protocol, packet->icmp >> 8);
	return packet->protocol != IPPROTO_TCP || opens(packet) || goes_on(packet);
}

static __always_inline int open_flow(struct half *half, struct packet *packet, struct port *port, int origin, const struct found *found)
{
	struct flow *flow = draft_flow();
	struct flow_side *side;

	if (!flow)
		return REASON_NONE;
	flow->opened = half->now;
	side = side_of(flow, half->side);
	side->seen = half->now;
	side->port = port->id;
	side->generation = port->generation;
	side->position = packet->position;
	side->origin = origin;
	side->icmp = packet->icmp;
	if (packet->protocol == IPPROTO_TCP && goes_on(packet))
		side->flags |= FLOW_ADOPTED;
	advance(side, packet, half->direction, half->now);
	insert_flow(half, port, flow, found);
	return REASON_NONE;
}

static __always_inline int judge_new(struct half *half, struct packet *packet, struct port *port, const struct found *found)
{
	int by = half->direction;
	__u32 ruleset, position, observed;

	if (decide(port, half, packet, by, packet->icmp) != ACTION_ALLOW) {
		ruleset = packet->ruleset;
		position = packet->position;
		observed = packet->observed;
		if (adopts(packet, port, half->now) &&
		    decide(port, half, packet, by == DIR_OUT ? DIR_IN : DIR_OUT, packet->icmp) == ACTION_ALLOW) {
			by = by == DIR_OUT ? DIR_IN : DIR_OUT;
		} else {
			packet->ruleset = ruleset;
			packet->position = position;
			packet->observed = observed;
			packet->asked = ASKED(ASKED_RULES, by, 0);
			count_rule(packet, port);
			return refused_by(by);
		}
	}
	packet->asked = ASKED(ASKED_RULES, by, 0);
	count_rule(packet, port);
	return remembered(packet) ? open_flow(half, packet, port, by, found) : REASON_NONE;
}

/* A stateful port's layer acl, in either direction. A function of its own to the verifier. */
__noinline int connect(struct __sk_buff *skb, struct packet *packet, struct port *port, int direction)
{
	struct half half = {};
	struct found found = {};
	struct flow_side *side = 0;
	int reason, related = 0;

	if (!packet || !port)
		return REASON_MALFORMED;
	packet->observed = POSITION_FALLBACK;
	if (packet->fragment == FRAGMENT_LATER) {
		packet->asked = ASKED(ASKED_FRAGMENT, direction, 0);
		return follow_fragment(packet, port, direction);
	}
	half.now = bpf_ktime_get_coarse_ns();
	half.direction = direction;
	/* An ICMP error about a known connection passes if that may, and does not advance it (RFC 5508 section 4). */
	if (is_icmp(packet->protocol) && is_icmp_error(packet->protocol, packet->icmp >> 8) &&
	    quoted_key(skb, packet, port, &half)) {
		find_flow(&half, port, &found);
		if (found.flow) {
			side = side_of(found.flow, half.side);
			related = !is_idle(side, half.key.protocol, half.now);
		}
	}
	if (!related) {
		side = 0;
		put_ends_of(&half, port, packet);
		find_flow(&half, port, &found);
		if (found.flow) {
			side = side_of(found.flow, half.side);
			if (is_stale(side, packet, half.now)) {
				/* As good as absent. */
				leave_side(side, found.shelf);
				side = 0;
			}
		}
	}
	if (!side || !(related || fits(packet, side, direction))) {
		reason = judge_new(&half, packet, port, &found);
	} else {
		reason = judge_again(&half, packet, port, side, found.shelf);
		if (!reason && !related)
			advance(side, packet, direction, half.now);
		packet->asked = ASKED(reason ? ASKED_RULES : related ? ASKED_RELATED : ASKED_KNOWN, side->origin & 1, side->state);
		if (!reason && !related)
			settle(&half, found.flow, found.shelf, side);
	}
	if (packet->observed != POSITION_FALLBACK)
		tell_observed(skb, packet, port, direction);
	if (!reason && packet->fragment == FRAGMENT_FIRST)
		remember_fragment(packet, port, direction);
	return reason;
}

/* Whether this side lets a packet pass with no question to the rules. */
static __always_inline int is_settled(const struct flow_side *side, const struct port *port, const struct packet *packet, __u64 now)
{
	return side->port == port->id && side->generation == port->generation && !is_stale(side, packet, now);
}

/*
 * What two calls of `connect` do, for the packet of a connection that both ports know and have nothing to ask about: with one
 * look-up. 0: it is none, and nothing was done. Not for ICMP and fragments.
 */
__noinline int pass_known(struct packet *packet, struct port *port, struct port *target)
{
	struct half half = {};
	struct flow_side *own, *others;
	struct flow *flow;
	int shelf;

	if (!packet || !port || !target)
		return 0;
	half.now = bpf_ktime_get_coarse_ns();
	half.direction = DIR_OUT;
	put_ends_of(&half, port, packet);
	flow = find_shared(&half.key, &shelf);
	if (!flow)
		return 0;
	own = side_of(flow, half.side);
	others = side_of(flow, half.side + 1);
	/* With equal ends both ports would have the same side: the other one is nobody's then. */
	if (!is_settled(own, port, packet, half.now) || !is_settled(others, target, packet, half.now))
		return 0;
	packet->ruleset = target->ruleset[others->origin == DIR_OUT];
	packet->position = others->position;
	advance(own, packet, DIR_OUT, half.now);
	advance(others, packet, DIR_IN, half.now);
	settle(&half, flow, shelf, own);
	return 1;
}

#endif
