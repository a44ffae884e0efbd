/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections as a port remembers them: one entry a connection and port, whichever way its packets run. What may still be one
 * half of a handshake lives in `embryonic`, where a flood evicts nothing else; what was answered moves to `established`, and
 * back when it is closed. The states are those of core/vfp/src/flow.rs.
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

static __always_inline void flow_key_of(struct flow_key *key, const struct port *port, const struct packet *packet, int direction)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->port = port->id;
	key->protocol = packet->protocol;
	if (direction == DIR_OUT) {
		key->local = packet->source;
		key->remote = packet->destination;
		key->local_port = packet->source_port;
		key->remote_port = packet->destination_port;
	} else {
		key->local = packet->destination;
		key->remote = packet->source;
		key->local_port = packet->destination_port;
		key->remote_port = packet->source_port;
	}
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

static __always_inline int is_idle(const struct flow *flow, __u8 protocol, __u64 now)
{
	return now > flow->seen && now - flow->seen > idle_timeout(protocol, flow->state);
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

/* `lasting`: it stands in `established`. It may be idle. */
static __always_inline struct flow *find_flow(const struct flow_key *key, int *lasting)
{
	struct flow *flow = bpf_map_lookup_elem(&established, key);

	*lasting = flow != 0;
	return flow ? flow : bpf_map_lookup_elem(&embryonic, key);
}

static __always_inline void forget_flow(const struct flow_key *key)
{
	bpf_map_delete_elem(&established, key);
	bpf_map_delete_elem(&embryonic, key);
}

static __always_inline __u8 next_state(const struct flow *flow, const struct packet *packet, int reply)
{
	__u16 fins = flow->flags & (FLOW_FIN_IN | FLOW_FIN_OUT);

	if (packet->protocol != IPPROTO_TCP)
		return reply && flow->state == FLOW_NEW ? FLOW_ESTABLISHED : flow->state;
	if (packet->tcp & TCP_RST || fins == (FLOW_FIN_IN | FLOW_FIN_OUT))
		return FLOW_CLOSED;
	/* Whoever knows the ports can send a reset; whom it did not convince goes on. */
	if (flow->state == FLOW_CLOSED && !goes_on(packet))
		return FLOW_CLOSED;
	if (fins)
		return FLOW_CLOSING;
	if (flow->state == FLOW_CLOSED)
		return FLOW_ESTABLISHED;
	if (flow->state == FLOW_NEW && reply)
		return packet->tcp & TCP_SYN ? FLOW_REPLIED : FLOW_ESTABLISHED;
	if (flow->state == FLOW_REPLIED && !reply && !(packet->tcp & TCP_SYN))
		return FLOW_ESTABLISHED;
	return flow->state;
}

/* Counts a packet that passes, and goes on to the state it leads to. */
static __always_inline void advance(struct flow *flow, const struct packet *packet, int direction, __u64 now)
{
	__u8 state;

	if (now >= flow->seen + SEEN_STEP)
		flow->seen = now;
	flow->packets[direction == DIR_OUT] += 1;
	if (packet->protocol == IPPROTO_TCP && packet->tcp & TCP_FIN)
		flow->flags |= direction == DIR_OUT ? FLOW_FIN_OUT : FLOW_FIN_IN;
	state = next_state(flow, packet, direction != flow->origin);
	if (state != flow->state)
		flow->state = state;
}

/* Moves a flow to the map that its state belongs to. When `established` is full it stays where it is. */
static __always_inline void settle(const struct flow_key *key, struct flow *flow, int lasting)
{
	if (!lasting && flow->state == FLOW_ESTABLISHED) {
		if (!bpf_map_update_elem(&established, key, flow, BPF_ANY))
			bpf_map_delete_elem(&embryonic, key);
	} else if (lasting && flow->state == FLOW_CLOSED) {
		if (!bpf_map_update_elem(&embryonic, key, flow, BPF_ANY))
			bpf_map_delete_elem(&established, key);
	}
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

#endif
