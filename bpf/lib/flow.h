/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections as ports remember them: one entry a connection, with a side for the port at each of its ends. What is new lives in
 * `embryonic`, where a flood evicts nothing else; what was answered and goes on moves to `established`, and back when it is closed.
 * The states are those of core/vfp/src/flow.rs, where each port has a flow of its own: no side knows of the other.
 */
#ifndef HNS_FLOW_H
#define HNS_FLOW_H

#include "maps.h"
#include "packet.h"
#include "timeouts.h"

#define POSITION_FALLBACK (~0u)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow);
} drafts SEC(".maps"); /* a new flow does not fit on the stack */

/* A packet in one half of its way. On the stack, so that functions need few arguments. */
struct half {
	struct flow_key key;
	__u64 now;
	__u32 direction;
	__u32 side; /* the port's */
};

/* Where an entry stands. */
enum shelf {
	SHELF_NONE = 0,
	SHELF_EMBRYONIC = 1,
	SHELF_ESTABLISHED = 2,
	SHELF_STRAYS = 3,
};

/* What was found of a connection. */
struct found {
	struct flow *flow; /* in which the port has its side */
	int shelf; /* of `flow` */
	int shared; /* enum shelf of the entry that ports share, whoever has the sides */
};

static __always_inline int precedes(const struct addr *left, __be16 left_number, const struct addr *right, __be16 right_number)
{
	/* Of IPv4 the last word alone differs. */
	if (word(left, 3) != word(right, 3))
		return word(left, 3) < word(right, 3);
	if (word(left, 2) != word(right, 2))
		return word(left, 2) < word(right, 2);
	if (word(left, 1) != word(right, 1))
		return word(left, 1) < word(right, 1);
	if (word(left, 0) != word(right, 0))
		return word(left, 0) < word(right, 0);
	return left_number <= right_number;
}

/* Fills the key, in which both ends of a connection have the same place for every port, and which side is the port's. */
static __always_inline void put_ends(struct half *half, const struct port *port, __u8 protocol, const struct addr *local,
				     __be16 local_number, const struct addr *remote, __be16 remote_number)
{
	struct flow_key *key = &half->key;

	key->network = port->network;
	key->port = 0;
	key->protocol = protocol;
	if (precedes(local, local_number, remote, remote_number)) {
		half->side = 0;
		key->addr[0] = *local;
		key->addr[1] = *remote;
		key->number[0] = local_number;
		key->number[1] = remote_number;
	} else {
		half->side = 1;
		key->addr[0] = *remote;
		key->addr[1] = *local;
		key->number[0] = remote_number;
		key->number[1] = local_number;
	}
}

static __always_inline void put_ends_of(struct half *half, const struct port *port, const struct packet *packet)
{
	if (half->direction == DIR_OUT)
		put_ends(half, port, packet->protocol, &packet->source, packet->source_port, &packet->destination,
			 packet->destination_port);
	else
		put_ends(half, port, packet->protocol, &packet->destination, packet->destination_port, &packet->source,
			 packet->source_port);
}

static __always_inline struct flow_side *side_of(struct flow *flow, __u32 side)
{
	return &flow->side[side & 1];
}

static __always_inline __u64 idle_timeout(__u8 protocol, __u8 state)
{
	if (protocol == IPPROTO_TCP) {
		if (state == FLOW_ESTABLISHED)
			return TIMEOUT_TCP_ESTABLISHED;
		if (state == FLOW_CLOSING)
			return TIMEOUT_TCP_CLOSING;
		return state == FLOW_CLOSED ? TIMEOUT_TCP_CLOSED : TIMEOUT_TCP_NEW;
	}
	if (protocol == IPPROTO_UDP)
		return state == FLOW_NEW ? TIMEOUT_UDP_NEW : TIMEOUT_UDP_ESTABLISHED;
	return is_icmp(protocol) ? TIMEOUT_ICMP : TIMEOUT_OTHER;
}

static __always_inline int is_idle(const struct flow_side *side, __u8 protocol, __u64 now)
{
	return now > side->seen && now - side->seen > idle_timeout(protocol, side->state);
}

/* SYN without ACK, RST and FIN: a connection's first packet. */
static __always_inline int opens(const struct packet *packet)
{
	return (packet->tcp & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

/* ACK without SYN, RST and FIN: of a connection that is in its midst. */
static __always_inline int goes_on(const struct packet *packet)
{
	return (packet->tcp & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_ACK;
}

/* Whether a side is over for this packet: it went idle, or its ends begin anew. */
static __always_inline int is_stale(const struct flow_side *side, const struct packet *packet, __u64 now)
{
	return is_idle(side, packet->protocol, now) || (side->state == FLOW_CLOSED && opens(packet));
}

static __always_inline struct flow *find_shared(const struct flow_key *key, int *shelf)
{
	struct flow *flow = bpf_map_lookup_elem(&established, key);

	*shelf = SHELF_ESTABLISHED;
	if (flow)
		return flow;
	flow = bpf_map_lookup_elem(&embryonic, key);
	*shelf = flow ? SHELF_EMBRYONIC : SHELF_NONE;
	return flow;
}

/* The entry in which the port has its side. It may be idle. */
static __always_inline void find_flow(struct half *half, const struct port *port, struct found *found)
{
	struct flow *flow = find_shared(&half->key, &found->shared);

	found->flow = flow;
	found->shelf = found->shared;
	if (flow && side_of(flow, half->side)->port == port->id)
		return;
	half->key.port = port->id;
	flow = bpf_map_lookup_elem(&strays, &half->key);
	half->key.port = 0;
	found->flow = flow && side_of(flow, half->side)->port == port->id ? flow : 0;
	found->shelf = SHELF_STRAYS;
}

static __always_inline __u8 next_state(const struct flow_side *side, const struct packet *packet, int reply)
{
	__u16 fins = side->flags & (FLOW_FIN_IN | FLOW_FIN_OUT);

	if (packet->protocol != IPPROTO_TCP)
		return reply && side->state == FLOW_NEW ? FLOW_ESTABLISHED : side->state;
	if (packet->tcp & TCP_RST || fins == (FLOW_FIN_IN | FLOW_FIN_OUT))
		return FLOW_CLOSED;
	/* Whoever knows the ports can send a reset; whom it did not convince goes on. */
	if (side->state == FLOW_CLOSED && !goes_on(packet))
		return FLOW_CLOSED;
	if (fins)
		return FLOW_CLOSING;
	if (side->state == FLOW_CLOSED)
		return FLOW_ESTABLISHED;
	if (side->state == FLOW_NEW && reply)
		return packet->tcp & TCP_SYN ? FLOW_REPLIED : FLOW_ESTABLISHED;
	if (side->state == FLOW_REPLIED && !reply && !(packet->tcp & TCP_SYN))
		return FLOW_ESTABLISHED;
	return side->state;
}

/* Counts a packet that passes, and goes on to the state it leads to. */
static __always_inline void advance(struct flow_side *side, const struct packet *packet, int direction, __u64 now)
{
	__u8 state;

	if (now >= side->seen + SEEN_STEP)
		side->seen = now;
	side->packets[direction == DIR_OUT] += 1;
	if (packet->protocol == IPPROTO_TCP && packet->tcp & TCP_FIN)
		side->flags |= direction == DIR_OUT ? FLOW_FIN_OUT : FLOW_FIN_IN;
	state = next_state(side, packet, direction != side->origin);
	if (state != side->state)
		side->state = state;
}

static __always_inline int is_open(const struct flow_side *side)
{
	return side->port && (side->state == FLOW_ESTABLISHED || side->state == FLOW_CLOSING);
}

/* Whether a connection has been answered and is none of the many that are over at once. */
static __always_inline int lasts(const struct flow *flow, const struct flow_side *side, __u64 now)
{
	if (!is_open(side) || !side->packets[DIR_IN] || !side->packets[DIR_OUT])
		return 0;
	return side->packets[DIR_IN] + side->packets[DIR_OUT] >= LASTING_PACKETS || now >= flow->opened + LASTING_AGE;
}

static __always_inline void tally(__u32 port, __s64 more)
{
	__u64 *count, first = 1;

	if (!port)
		return;
	count = bpf_map_lookup_elem(&tallies, &port);
	if (count)
		__sync_fetch_and_add(count, more);
	else if (more > 0)
		bpf_map_update_elem(&tallies, &port, &first, BPF_NOEXIST);
}

static __always_inline int has_room(__u32 port)
{
	__u64 *count;

	if (!port)
		return 1;
	count = bpf_map_lookup_elem(&tallies, &port);
	return !count || (__s64)*count < FLOWS_OF_A_PORT_MAX;
}

/* When `established` is full, or one of the ports has its share of it, the entry stays where it is. */
static __noinline void promote(struct half *half, struct flow *flow)
{
	__u32 ports[2] = { flow->side[0].port, flow->side[1].port };

	if (!has_room(ports[0]) || !has_room(ports[1]) || bpf_map_update_elem(&established, &half->key, flow, BPF_ANY))
		return;
	bpf_map_delete_elem(&embryonic, &half->key);
	tally(ports[0], 1);
	tally(ports[1], 1);
}

static __noinline void demote(struct half *half, struct flow *flow)
{
	__u32 ports[2] = { flow->side[0].port, flow->side[1].port };

	if (bpf_map_update_elem(&embryonic, &half->key, flow, BPF_ANY))
		return;
	bpf_map_delete_elem(&established, &half->key);
	tally(ports[0], -1);
	tally(ports[1], -1);
}

/* Moves an entry to the map that it belongs to, by what became of this side. */
static __always_inline void settle(struct half *half, struct flow *flow, int shelf, const struct flow_side *side)
{
	if (shelf == SHELF_EMBRYONIC && lasts(flow, side, half->now))
		promote(half, flow);
	else if (shelf == SHELF_ESTABLISHED && side->state == FLOW_CLOSED && !is_open(&flow->side[0]) && !is_open(&flow->side[1]))
		demote(half, flow);
}

/* The side is nobody's from now on. */
static __always_inline void leave_side(struct flow_side *side, int shelf)
{
	if (shelf == SHELF_ESTABLISHED)
		tally(side->port, -1);
	side->port = 0;
}

/* A zeroed flow to be filled and then inserted. */
static __always_inline struct flow *draft_flow(void)
{
	__u32 zero = 0;
	struct flow *flow = bpf_map_lookup_elem(&drafts, &zero);

	if (flow)
		__builtin_memset(flow, 0, sizeof(*flow));
	return flow;
}

/* Takes a side that is nobody's any more. Whose it is comes last: half a side is no side. */
static __always_inline void take_side(struct flow_side *side, const struct flow_side *draft)
{
	*(volatile __u32 *)&side->port = 0;
	side->seen = draft->seen;
	side->packets[0] = draft->packets[0];
	side->packets[1] = draft->packets[1];
	side->generation = draft->generation;
	side->position = draft->position;
	side->origin = draft->origin;
	side->state = draft->state;
	side->flags = draft->flags;
	side->icmp = draft->icmp;
	*(volatile __u32 *)&side->port = draft->port;
}

/* Remembers what `draft` has for the port's side, in place of what it has `found` a moment ago. */
static __always_inline void insert_flow(struct half *half, const struct port *port, const struct flow *draft, const struct found *found)
{
	const struct flow_side *own = &draft->side[half->side & 1];
	struct flow *flow = 0;
	struct flow_side *side;

	/* An echo that the other end opens anew: the former one may come to light again when its place is free. */
	if (found->flow && found->shelf == SHELF_STRAYS)
		side_of(found->flow, half->side)->port = 0;
	/* Looked up again, for the entry may have been evicted since. */
	if (found->shared == SHELF_ESTABLISHED)
		flow = bpf_map_lookup_elem(&established, &half->key);
	else if (found->shared == SHELF_NONE && !bpf_map_update_elem(&embryonic, &half->key, draft, BPF_NOEXIST))
		return;
	if (!flow)
		flow = bpf_map_lookup_elem(&embryonic, &half->key);
	if (!flow) {
		bpf_map_update_elem(&embryonic, &half->key, draft, BPF_NOEXIST);
		return;
	}
	side = side_of(flow, half->side);
	if (!side->port || side->port == port->id || is_idle(side, half->key.protocol, half->now)) {
		if (found->shared == SHELF_ESTABLISHED && side->port != port->id) {
			tally(side->port, -1);
			tally(port->id, 1);
		}
		take_side(side, own);
		if (!is_open(side_of(flow, half->side + 1)))
			flow->opened = half->now;
		return;
	}
	half->key.port = port->id;
	bpf_map_update_elem(&strays, &half->key, draft, BPF_ANY);
	half->key.port = 0;
}

#endif
