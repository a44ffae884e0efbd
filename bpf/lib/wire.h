/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From an external switch to its adapter. The host keeps the adapter: what is for it arrives there as if it came from the wire.
 */
#ifndef HNS_WIRE_H
#define HNS_WIRE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "maps.h"
#include "packet.h"

/* 01:80:c2:00:00:00 to 0f, which no bridge forwards (IEEE 802.1Q table 8-1). */
static __always_inline int is_of_the_link(const __u8 *mac)
{
	return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !mac[3] && !mac[4] && !(mac[5] & 0xf0);
}

/* Before a frame goes to the adapter, in either direction. */
static __always_inline int prepare_for_adapter(struct __sk_buff *skb, const struct uplink *uplink, enum beyond to)
{
	skb->mark = MARK_WIRED;
	skb->cb[CB_TARGET] = uplink->adapter;
	skb->cb[CB_BEYOND] = to;
	return uplink->vlan ? (int)bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), uplink->vlan) : 0;
}

/* A frame for one station: the host, or somebody on the wire. */
static __always_inline int send_to_adapter(struct __sk_buff *skb, const struct uplink *uplink, int is_host)
{
	if (prepare_for_adapter(skb, uplink, is_host ? BEYOND_HOST : BEYOND_WIRE))
		return TC_ACT_SHOT;
	return bpf_redirect(uplink->adapter, is_host ? BPF_F_INGRESS : 0);
}

#endif
