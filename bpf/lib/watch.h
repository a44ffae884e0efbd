/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Watched connections: the daemon is shown what becomes of their packets at each port. While nobody watches, it costs a packet
 * one look at an array; what is watched is parsed once more, for packets that no layer reads are shown too.
 */
#ifndef HNS_WATCH_H
#define HNS_WATCH_H

#include "events.h"
#include "maps.h"
#include "packet.h"
#include "parse.h"

/* The places of `watches` that count, as bits. */
static __always_inline __u32 watched_places(void)
{
	__u32 zero = 0;
	__u32 *places = bpf_map_lookup_elem(&watching, &zero);

	return places ? *(volatile __u32 *)places : 0;
}

static __always_inline int is_end(const struct addr *wanted, __be16 number, const struct addr *address, __be16 found)
{
	return (is_unspecified(wanted) || same_address(wanted, address)) && (!number || number == found);
}

/* A function of its own to the verifier, to which the answers of all watches would else be as many paths. */
__noinline int is_watched_at(struct packet *packet, __u32 place)
{
	struct watch *watch = bpf_map_lookup_elem(&watches, &place);
	__be16 source, destination;

	if (!packet || !watch || (watch->protocol && watch->protocol != packet->protocol))
		return 0;
	/* Identifiers of ICMP are no ports. */
	source = is_icmp(packet->protocol) ? 0 : packet->source_port;
	destination = is_icmp(packet->protocol) ? 0 : packet->destination_port;
	if (is_end(&watch->source, watch->source_port, &packet->source, source) &&
	    is_end(&watch->destination, watch->destination_port, &packet->destination, destination))
		return 1;
	return is_end(&watch->source, watch->source_port, &packet->destination, destination) &&
	       is_end(&watch->destination, watch->destination_port, &packet->source, source);
}

/* Which of the places have a watch that says this packet. */
__noinline int watches_of(struct __sk_buff *skb, __u32 places)
{
	struct packet packet = {};
	__u32 found = 0;

	if (parse(skb, &packet) || !is_ip(&packet))
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 place = 0; place < WATCHES_MAX; place++)
		found |= (is_watched_at(&packet, place) & 1) << place;
	return found & places;
}

static __always_inline __u32 watches_on(struct __sk_buff *skb)
{
	__u32 places = watched_places();

	return places ? watches_of(skb, places) : 0;
}

/* What becomes of a packet at a port, in one number, since a function takes five. */
static __always_inline __u64 fate_of(int direction, int reason, enum onward onward, __u32 target)
{
	return (__u64)target << 32 | (__u32)reason << 16 | (__u32)onward << 8 | (__u32)direction;
}

/* Shows the packet, of which the port's layers have said their word. What was asked is told once. */
__noinline int show(struct __sk_buff *skb, struct packet *packet, struct port *port, __u32 watches, __u64 fate)
{
	__u64 now = bpf_ktime_get_ns();
	struct sighting *sighting;
	struct pace *pace;

	if (!packet || !port)
		return 0;
	pace = pace_of(PACE_SIGHTINGS, now);
	if (!pace)
		return 0;
	sighting = pace->sent++ < SIGHTINGS_PER_SECOND ? bpf_ringbuf_reserve(&sightings, sizeof(*sighting), 0) : 0;
	if (!sighting) {
		pace->missed += 1;
		packet->asked = ASKED_NOTHING;
		return 0;
	}
	sighting->time = now;
	sighting->port = port->id;
	sighting->ifindex = port->ifindex;
	sighting->watches = watches;
	sighting->target = fate >> 32;
	sighting->reason = fate >> 16;
	sighting->onward = fate >> 8;
	sighting->direction = fate;
	sighting->asked = packet->asked & 7;
	sighting->by = packet->asked >> 3 & 1;
	sighting->state = packet->asked >> 4;
	sighting->zero = 0;
	sighting->ruleset = packet->ruleset;
	sighting->position = packet->position;
	sighting->observed = packet->observed;
	sighting->missed = pace->missed;
	sighting->length = skb->len;
	sighting->captured = capture(skb, sighting->header);
	pace->missed = 0;
	packet->asked = ASKED_NOTHING;
	bpf_ringbuf_submit(sighting, 0);
	return 0;
}

#endif
