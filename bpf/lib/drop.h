/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A dropped packet is counted always, and shown to the daemon as often as EVENTS_PER_SECOND allows. */
#ifndef HNS_DROP_H
#define HNS_DROP_H

#include "events.h"
#include "maps.h"
#include "packet.h"

struct loss {
	__u32 port;
	__u32 ifindex;
	__u16 reason;
	__u16 direction;
	__u32 ruleset;
	__u32 position;
};

__noinline int report(struct __sk_buff *skb, struct loss *loss)
{
	struct drop_key key = {};
	struct drop_event *event;
	__u64 one = 1, now = bpf_ktime_get_ns();
	struct pace *pace;
	__u64 *count;

	if (!loss)
		return 0;
	key.port = loss->port;
	key.reason = loss->reason;
	key.direction = loss->direction;
	count = bpf_map_lookup_elem(&drops, &key);
	if (count)
		*count += 1;
	else
		bpf_map_update_elem(&drops, &key, &one, BPF_NOEXIST);

	pace = pace_of(PACE_DROPS, now);
	if (!pace || pace->sent++ >= EVENTS_PER_SECOND)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->time = now;
	event->port = loss->port;
	event->ifindex = loss->ifindex;
	event->reason = loss->reason;
	event->direction = loss->direction;
	event->ruleset = loss->ruleset;
	event->position = loss->position;
	event->length = skb->len;
	event->zero = 0;
	event->captured = capture(skb, event->header);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

#endif
