/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs of an external switch's adapter and of its uplink, the bridge's port that stands for the wire. They are part of
 * port.bpf.c's object, since what comes in by the adapter meets the layers of its port. At the adapter they answer TC_ACT_UNSPEC, "next": what is
 * not a container's is none of their business. See README.md.
 */
#ifndef HNS_UPLINK_H
#define HNS_UPLINK_H

#include "lib/wire.h"

/* A number that no VLAN has: of tags that are not IEEE 802.1Q's. */
#define NO_VLAN 0xffff

/* The kernel takes a tag out of the frame before a program sees it. One without a number says a priority alone. */
static __always_inline __u32 vlan_of(const struct __sk_buff *skb)
{
	if (!skb->vlan_present)
		return 0;
	return skb->vlan_proto == bpf_htons(ETH_P_8021Q) ? skb->vlan_tci & VLAN_NUMBER : NO_VLAN;
}

/* The external switch that a frame at an adapter belongs to, or 0. */
static __always_inline struct uplink *uplink_of(const struct __sk_buff *skb)
{
	struct uplink_key key = {};

	key.ifindex = skb->ifindex;
	key.vlan = vlan_of(skb);
	return bpf_map_lookup_elem(&uplinks, &key);
}

/* The link of the port that has this station, or 0. */
static __always_inline __u32 port_of(const struct uplink *uplink, const __u8 *mac)
{
	struct station_key key = {};
	__u32 *station;

	key.network = uplink->network;
	__builtin_memcpy(key.mac, mac, 6);
	station = bpf_map_lookup_elem(&stations, &key);
	return station ? *station : 0;
}

/* A copy into the bridge, as if it came in by the uplink. The frame itself stays as it is. */
static __always_inline void copy_to_switch(struct __sk_buff *skb, const struct uplink *uplink)
{
	__u32 tagged = skb->vlan_present, control = skb->vlan_tci;

	if (tagged && bpf_skb_vlan_pop(skb))
		return;
	bpf_clone_redirect(skb, uplink->port, BPF_F_INGRESS);
	skb->cb[CB_TARGET] = uplink->port;
	if (tagged)
		bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), control);
}

/* To a group, and back from the wire: a container's is for the host as well, which does not hear its own again. */
static __always_inline int come_back(struct __sk_buff *skb, struct uplink *uplink)
{
	int whose = l2_back(skb, uplink);

	if (whose != BACK_NAMELESS)
		copy_to_switch(skb, uplink);
	return whose == BACK_OF_PORT ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

/* One of two neighbours is quiet. */
static __always_inline int part(struct __sk_buff *skb, __u32 ifindex)
{
	struct packet packet = {};
	struct port *port = port_at(ifindex);

	packet.position = POSITION_FALLBACK;
	return drop(skb, &packet, port ? port->id : 0, ifindex, DIR_IN, REASON_QUIET);
}

/* What the adapter receives. */
SEC("classifier")
int adapter_in(struct __sk_buff *skb)
{
	struct uplink *uplink;
	void *data;
	__u8 to[6], from[6];
	__u32 ifindex;
	int is_back;

	if (skb->mark & MARK_WIRED) {
		skb->mark &= ~MARK_WIRED;
		return TC_ACT_UNSPEC;
	}
	uplink = uplink_of(skb);
	data = data_of(skb);
	if (!uplink || data + ETH_HLEN > data_end_of(skb))
		return TC_ACT_UNSPEC;
	__builtin_memcpy(to, data, 6);
	__builtin_memcpy(from, data + 6, 6);
	is_back = uplink->flags & UPLINK_REFLECTED && same_mac(from, uplink->mac);
	if (to[0] & 1 && is_back && !is_of_the_link(to))
		return come_back(skb, uplink);
	if (to[0] & 1) {
		/* What we have sent ourselves comes back from some switches. */
		if (!is_of_the_link(to) && !same_mac(from, uplink->mac) && !port_of(uplink, from))
			copy_to_switch(skb, uplink);
		return TC_ACT_UNSPEC;
	}
	/* The host's station is nobody else's, whatever a port claims. */
	if (same_mac(to, uplink->mac))
		ifindex = uplink->flags & UPLINK_ONE_MAC ? l2_in(skb, uplink) : 0;
	else
		ifindex = port_of(uplink, to);
	if (ifindex && is_back && same_mac(to, uplink->mac) && l2_parted(skb, uplink, ifindex))
		return part(skb, ifindex);
	return ifindex ? deliver(skb, ifindex) : TC_ACT_UNSPEC;
}

/* What the host sends. */
SEC("classifier")
int adapter_out(struct __sk_buff *skb)
{
	struct uplink *uplink;
	void *data;
	__u8 to[6];
	__u32 ifindex;

	if (skb->mark & MARK_WIRED) {
		skb->mark &= ~MARK_WIRED;
		return TC_ACT_UNSPEC;
	}
	uplink = uplink_of(skb);
	data = data_of(skb);
	/* What a wire sends back is heard then. */
	if (!uplink || uplink->flags & UPLINK_REFLECTED || data + ETH_HLEN > data_end_of(skb))
		return TC_ACT_UNSPEC;
	__builtin_memcpy(to, data, 6);
	if (to[0] & 1) {
		if (!is_of_the_link(to))
			copy_to_switch(skb, uplink);
		return TC_ACT_UNSPEC;
	}
	ifindex = port_of(uplink, to);
	if (!ifindex)
		return TC_ACT_UNSPEC;
	if (skb->vlan_present && bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	/* Its `port_in` asks its layers. */
	skb->cb[CB_TARGET] = ifindex;
	return bpf_redirect(ifindex, 0);
}

/* What the bridge sends to the wire: what is for everybody, and for stations that it does not know. */
SEC("classifier")
int uplink_out(struct __sk_buff *skb)
{
	struct uplink_key key = {};
	struct packet packet = {};
	struct uplink *uplink;
	void *data = data_of(skb);
	int is_host, is_both, reason = REASON_NONE;
	__u8 to[6];

	key.ifindex = skb->ifindex;
	uplink = bpf_map_lookup_elem(&uplinks, &key);
	if (!uplink || data + ETH_HLEN > data_end_of(skb))
		return TC_ACT_SHOT;
	__builtin_memcpy(to, data, 6);
	is_host = !(uplink->flags & UPLINK_REFLECTED) && same_mac(to, uplink->mac);
	/* Read before a tag hides it. */
	if (!is_host && uplink->flags & UPLINK_ONE_MAC)
		reason = parse(skb, &packet);
	if (reason)
		return drop(skb, &packet, 0, skb->ifindex, DIR_OUT, reason);
	is_both = to[0] & 1 && !(uplink->flags & UPLINK_REFLECTED);
	if (is_both) {
		if (prepare_for_adapter(skb, uplink, BEYOND_BOTH))
			return TC_ACT_SHOT;
		/* The host knows its containers by their own stations. */
		bpf_clone_redirect(skb, uplink->adapter, BPF_F_INGRESS);
	}
	if (!is_host && uplink->flags & UPLINK_ONE_MAC)
		reason = l2_out(skb, &packet, uplink);
	if (reason)
		return drop(skb, &packet, 0, skb->ifindex, DIR_OUT, reason);
	return is_both ? bpf_redirect(uplink->adapter, 0) : send_to_adapter(skb, uplink, is_host);
}

#endif
