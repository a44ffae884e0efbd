/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Layer meter: rate limits, as a token bucket without a lock: a theoretical arrival time (GCRA, ITU-T I.371). */
#ifndef HNS_METER_H
#define HNS_METER_H

#include "../lib/maps.h"
#include "../lib/packet.h"

/* How often another processor may be quicker before a packet passes uncounted. */
#define METER_TRIES 4

__noinline int meter(struct __sk_buff *skb, struct port *port, int direction)
{
	struct meter_key key;
	struct meter *meter;
	__u64 now, cost;

	if (!port)
		return REASON_MALFORMED;
	key.port = port->id;
	key.direction = direction;
	meter = bpf_map_lookup_elem(&meters, &key);
	if (!meter)
		return REASON_NONE;
	now = bpf_ktime_get_ns();
	cost = skb->len * meter->picoseconds_per_byte / 1000;
	for (int i = 0; i < METER_TRIES; i++) {
		__u64 arrival = *(volatile __u64 *)&meter->arrival;
		__u64 next = (arrival > now ? arrival : now) + cost;

		if (next - now > meter->burst)
			return direction == DIR_OUT ? REASON_METER_OUT : REASON_METER_IN;
		if (__sync_val_compare_and_swap(&meter->arrival, arrival, next) == arrival)
			break;
	}
	return REASON_NONE;
}

#endif
