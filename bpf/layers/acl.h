/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Layer acl: which rule decides about a connection. A ruleset is a list of positions. Each of four dimensions (local address,
 * remote address, protocol with local port, protocol with remote port) leads by its longest prefix to a row of bits, one a
 * position; the first bit that is set in all rows is the first rule that matches. A row is a run of chunk numbers in
 * `directory`; chunk 0 is empty, so a row without rules costs no more than the numbers.
 *
 * Rules may name the address sets of their network, which belong to no ruleset: `set_classes` leads from an address to the number
 * of the combination of sets that it is in, and `set_rows` from there to two rows more. An address that comes into a set is one
 * entry more, however many rulesets name the set.
 */
#ifndef HNS_ACL_H
#define HNS_ACL_H

#include "../lib/drop.h"
#include "../lib/flow.h"
#include "../lib/maps.h"
#include "../lib/packet.h"

#define ADDRESS_PREFIX (32 + 128)
#define PORT_PREFIX (32 + 32)
/* Every chunk, one Pass a tier, and the step that sees the end. */
#define WALK_STEPS (CHUNKS_PER_ROW + TIERS_MAX + 1)

struct walk {
	__u32 ruleset;
	__u32 chunks;
	__u32 rows[DIMENSIONS];
	__u32 sets; /* the last two rows count */
	__u32 start; /* the first position that may match */
	__u32 position;
	__u32 action;
	__u32 observed; /* the first position that is only watched */
	__u32 ended; /* a rule decided, or none is left */
};

/* Its place; 0 of 0. Without branches, which would multiply the verifier's paths. */
static __always_inline __u32 lowest_bit(__u64 bits)
{
	__u64 below = (bits & -bits) - 1;

	below -= (below >> 1) & 0x5555555555555555ull;
	below = (below & 0x3333333333333333ull) + ((below >> 2) & 0x3333333333333333ull);
	below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return (below * 0x0101010101010101ull) >> 56;
}

static __always_inline const struct chunk *chunk_of(__u32 row, __u32 column)
{
	__u32 place = row + column;
	__u32 *number = bpf_map_lookup_elem(&directory, &place);

	if (!number || !*number)
		return 0;
	place = *number;
	return bpf_map_lookup_elem(&chunks, &place);
}

/* Looks through one chunk; 1: done. */
static int walk_on(__u32 step, struct walk *walk)
{
	__u32 column = walk->start / CHUNK_BITS;
	__u32 first = walk->start % CHUNK_BITS;
	const struct chunk *a, *b, *c, *d, *e, *f;
	struct rule_key key;
	struct rule_entry *rule;
	__u64 found = 0;
	__u32 base = 0;

	if (column >= walk->chunks) {
		walk->ended = 1;
		return 1;
	}
	walk->start = (column + 1) * CHUNK_BITS;
	a = chunk_of(walk->rows[0], column);
	if (!a)
		return 0;
	b = chunk_of(walk->rows[1], column);
	if (!b)
		return 0;
	c = chunk_of(walk->rows[2], column);
	if (!c)
		return 0;
	d = chunk_of(walk->rows[3], column);
	if (!d)
		return 0;
	e = f = d;
	if (walk->sets) {
		e = chunk_of(walk->rows[DIM_LOCAL_SETS], column);
		if (!e)
			return 0;
		f = chunk_of(walk->rows[DIM_REMOTE_SETS], column);
		if (!f)
			return 0;
	}
#pragma clang loop unroll(full)
	for (int i = 0; i < CHUNK_WORDS; i++) {
		__u64 bits = a->w[i] & b->w[i] & c->w[i] & d->w[i] & e->w[i] & f->w[i];

		if (first >= (i + 1) * 64)
			bits = 0;
		else if (first > i * 64)
			bits &= ~0ull << (first - i * 64);
		if (!found && bits) {
			found = bits;
			base = i * 64;
		}
	}
	if (!found)
		return 0;
	key.ruleset = walk->ruleset;
	key.position = column * CHUNK_BITS + base + lowest_bit(found);
	rule = bpf_map_lookup_elem(&rules, &key);
	/* Never: a ruleset is complete while a record names it. The walk does not end, which blocks. */
	if (!rule)
		return 1;
	if (rule->action == ACTION_PASS || rule->action == ACTION_OBSERVE) {
		if (rule->action == ACTION_OBSERVE && walk->observed == POSITION_FALLBACK)
			walk->observed = key.position;
		if (rule->next <= key.position)
			return 1;
		walk->start = rule->next;
		return 0;
	}
	walk->ended = 1;
	walk->position = key.position;
	walk->action = rule->action;
	return 1;
}

/* With frames of their own: the stack of all callers together is 512 bytes. */
static __noinline __u32 row_of_address(__u32 ruleset, int dimension, const struct addr *address, __u32 miss)
{
	struct address_class_key key;
	__u32 *row;

	key.prefixlen = ADDRESS_PREFIX;
	key.space = ruleset << 1 | dimension;
	key.addr = *address;
	row = bpf_map_lookup_elem(&address_classes, &key);
	return row ? *row : miss;
}

static __noinline __u32 row_of_port(__u32 ruleset, int dimension, __u8 protocol, __be16 port, __u32 miss)
{
	struct port_class_key key;
	__u32 *row;

	key.prefixlen = PORT_PREFIX;
	key.space = ruleset << 1 | (dimension - DIM_LOCAL_PORT);
	key.protocol = protocol;
	key.zero = 0;
	key.port = port;
	row = bpf_map_lookup_elem(&port_classes, &key);
	return row ? *row : miss;
}

static __noinline __u32 row_of_sets(__u32 ruleset, int dimension, __u32 space, const struct addr *address, __u32 miss)
{
	struct set_class_key key;
	struct set_row_key place;
	__u32 *found;

	key.prefixlen = ADDRESS_PREFIX;
	key.space = space;
	key.addr = *address;
	found = bpf_map_lookup_elem(&set_classes, &key);
	if (found) {
		place.space = ruleset << 1 | (dimension - DIM_LOCAL_SETS);
		place.class = *found;
		found = bpf_map_lookup_elem(&set_rows, &place);
	}
	return found ? *found : miss;
}

/*
 * What the rules of a direction say about the connection of `half`: ACTION_BLOCK or ACTION_ALLOW. Which rule: in
 * `packet->ruleset` and `packet->position`. `icmp` is type << 8 | code. A function of its own to the verifier.
 */
__noinline int decide(struct port *port, struct half *half, struct packet *packet, int direction, int icmp)
{
	struct walk walk = {};
	const struct addr *local_addr, *remote_addr;
	struct ruleset *ruleset;
	__u32 space, *current;
	__be16 local, remote;
	__u8 protocol;

	if (!port || !half || !packet)
		return ACTION_BLOCK;
	walk.ruleset = port->ruleset[direction == DIR_OUT];
	walk.position = POSITION_FALLBACK;
	walk.observed = POSITION_FALLBACK;
	walk.action = port->fallback[direction == DIR_OUT];
	packet->ruleset = walk.ruleset;
	packet->position = POSITION_FALLBACK;
	packet->observed = POSITION_FALLBACK;
	if (!walk.ruleset)
		return walk.action;
	ruleset = bpf_map_lookup_elem(&rulesets, &walk.ruleset);
	if (!ruleset)
		return ACTION_BLOCK;
	protocol = half->key.protocol;
	local = half->key.number[half->side & 1];
	remote = half->key.number[~half->side & 1];
	local_addr = &half->key.addr[half->side & 1];
	remote_addr = &half->key.addr[~half->side & 1];
	if (is_icmp(protocol)) {
		local = bpf_htons(icmp);
		remote = 0;
	}
	walk.chunks = ruleset->chunks;
	/*
	 * 0, but not for the verifier: before Linux 6.7 it looks at one round of a loop's callback only, and removes as dead what
	 * its knowledge of the first round excludes, here all that skips positions after a Pass.
	 */
	walk.start = ruleset->first;
	walk.rows[DIM_LOCAL] = row_of_address(walk.ruleset, DIM_LOCAL, local_addr, ruleset->miss[DIM_LOCAL]);
	walk.rows[DIM_REMOTE] = row_of_address(walk.ruleset, DIM_REMOTE, remote_addr, ruleset->miss[DIM_REMOTE]);
	walk.rows[DIM_LOCAL_PORT] =
		row_of_port(walk.ruleset, DIM_LOCAL_PORT, protocol, local, ruleset->miss[DIM_LOCAL_PORT]);
	walk.rows[DIM_REMOTE_PORT] =
		row_of_port(walk.ruleset, DIM_REMOTE_PORT, protocol, remote, ruleset->miss[DIM_REMOTE_PORT]);
	walk.sets = ruleset->sets;
	if (walk.sets) {
		current = bpf_map_lookup_elem(&set_spaces, &walk.sets);
		if (!current)
			return ACTION_BLOCK;
		/* Once, for both addresses. */
		space = *(volatile __u32 *)current;
		walk.rows[DIM_LOCAL_SETS] = row_of_sets(walk.ruleset, DIM_LOCAL_SETS, space, local_addr, ruleset->miss[DIM_LOCAL_SETS]);
		walk.rows[DIM_REMOTE_SETS] = row_of_sets(walk.ruleset, DIM_REMOTE_SETS, space, remote_addr, ruleset->miss[DIM_REMOTE_SETS]);
	}
	bpf_loop(WALK_STEPS, walk_on, &walk, 0);
	packet->position = walk.position;
	packet->observed = walk.observed;
	return walk.ended ? walk.action : ACTION_BLOCK;
}

/* A new connection, or a packet that was dropped. */
static __noinline void count_hit(__u32 port, __u32 ruleset, __u32 position)
{
	struct hit_key key;
	__u64 *packets, one = 1;

	key.port = port;
	key.ruleset = ruleset;
	key.position = position;
	packets = bpf_map_lookup_elem(&hits, &key);
	/* Of two processors that find none one may lose its first. */
	if (packets)
		__sync_fetch_and_add(packets, 1);
	else
		bpf_map_update_elem(&hits, &key, &one, BPF_NOEXIST);
}

static __always_inline void count_rule(const struct packet *packet, const struct port *port)
{
	if (packet->ruleset && packet->position != POSITION_FALLBACK)
		count_hit(port->id, packet->ruleset, packet->position);
}

/* What a rule that is only watched would have dropped is told as if it had. */
static __noinline void tell_observed(struct __sk_buff *skb, const struct packet *packet, const struct port *port, int direction)
{
	struct loss loss = {};

	count_hit(port->id, packet->ruleset, packet->observed);
	loss.port = port->id;
	loss.ifindex = port->ifindex;
	loss.reason = REASON_OBSERVED;
	loss.direction = direction;
	loss.ruleset = packet->ruleset;
	loss.position = packet->observed;
	report(skb, &loss);
}

static __always_inline int refused_by(int direction)
{
	return direction == DIR_OUT ? REASON_ACL_OUT : REASON_ACL_IN;
}

/*
 * Neighbour discovery (RFC 4861) and group membership (RFC 2710, RFC 3810) are to IPv6 what ARP is to IPv4: not for rules, as
 * long as they come from this link and stay on it.
 */
static __always_inline int is_exempt(const struct packet *packet)
{
	__u8 type = packet->icmp >> 8;

	if (packet->family != FAMILY_IPV6 || packet->protocol != IPPROTO_ICMPV6 || packet->fragment)
		return 0;
	if (type >= ND_ROUTER_SOLICITATION && type <= ND_ADVERTISEMENT)
		return packet->hops == 255;
	if ((type >= MLD_QUERY && type <= MLD_DONE) || type == MLD_REPORT_2)
		return packet->hops == 1 && packet->destination.b[0] == 0xff && packet->destination.b[1] == 0x02;
	return 0;
}

#endif
