/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What all events for the daemon have in common: how many there may be, and the first bytes of their packet. */
#ifndef HNS_EVENTS_H
#define HNS_EVENTS_H

#include "maps.h"
#include "packet.h"

/* The places in `paces`. */
enum pace_place {
	PACE_DROPS = 0,
	PACE_SIGHTINGS = 1,
	PACES = 2,
};

struct pace {
	__u64 second; /* when the current second began, ns */
	__u64 sent;
	__u64 missed; /* of sightings: since the last one that was sent */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PACES);
	__type(key, __u32);
	__type(value, struct pace);
} paces SEC(".maps");

static __always_inline struct pace *pace_of(__u32 place, __u64 now)
{
	struct pace *pace = bpf_map_lookup_elem(&paces, &place);

	if (pace && now - pace->second >= 1000000000ull) {
		pace->second = now;
		pace->sent = 0;
	}
	return pace;
}

/* Copies the first bytes of a packet, and says how many. */
static __always_inline __u32 capture(struct __sk_buff *skb, __u8 *header)
{
	__u32 length = skb->len;

	__builtin_memset(header, 0, EVENT_HEADER);
	if (length > EVENT_HEADER)
		length = EVENT_HEADER;
	/* Linux 6.1 sees that a length is not 0 only when something was added to it, and the compiler must not take that away. */
	length -= 1;
	asm volatile("" : "+r"(length));
	if (length < EVENT_HEADER && !bpf_skb_load_bytes(skb, 0, header, length + 1))
		return length + 1;
	return 0;
}

#endif
