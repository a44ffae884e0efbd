/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A dropped packet is counted always, and shown to the daemon as often as EVENTS_PER_SECOND allows. */
#ifndef HNS_DROP_H
#define HNS_DROP_H

#include "maps.h"
#include "packet.h"

struct pace {
	__u64 second; /* when the current second began, ns */
	__u64 sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pace);
} paces SEC(".maps");

struct loss {
	__u32 port;
	__u32 ifindex;
	__u16 reason;
	__u16 direction;
	__u32 ruleset;
	__u32 position;
};

static __always_inline int may_send(__u64 now)
{
	__u32 zero = 0;
	struct pace *pace = bpf_map_lookup_elem(&paces, &zero);

	if (!pace)
		return 0;
	if (now - pace->second >= 1000000000ull) {
		pace->second = now;
		pace->sent = 0;
	}
	return pace->sent++ < EVENTS_PER_SECOND;
}

__noinline int report(struct __sk_buff *skb, struct loss *loss)
{
	struct drop_key key = {};
	struct drop_event *event;
	__u64 one = 1, now = bpf_ktime_get_ns();
	__u64 *count;
	__u32 length;

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

	if (!may_send(now))
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
	__builtin_memset(event->header, 0, EVENT_HEADER);
	length = skb->len;
	if (length > EVENT_HEADER)
		length = EVENT_HEADER;
	/* Linux 6.1 sees that a length is not 0 only when something was added to it, and the compiler must not take that away. */
	length -= 1;
	asm volatile("" : "+r"(length));
	if (length < EVENT_HEADER && !bpf_skb_load_bytes(skb, 0, event->header, length + 1))
		length += 1;
	else
		length = 0;
	event->captured = length;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

#endif
