/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Layer l2: one MAC address on the wire, that of the adapter. What goes to the wire bears it in place of the container's, also inside
 * ARP (RFC 826) and neighbour discovery (RFC 4861); what comes for it is the container's whose address it is for, unless the host has
 * that address as well, or routes for the container.
 */
#ifndef HNS_L2_H
#define HNS_L2_H

#include "../lib/maps.h"
#include "../lib/packet.h"
#include "../lib/parse.h"
#include "../lib/ports.h"
#include "security.h"

#define MAC_BYTES 6

static __always_inline int is_ordinary(const struct arp *arp)
{
	return arp->hardware == bpf_htons(1) && arp->protocol == bpf_htons(ETH_P_IP) && arp->hardware_length == MAC_BYTES &&
	       arp->protocol_length == 4;
}

static __always_inline int put_mac(struct __sk_buff *skb, __u32 offset, const __u8 *mac)
{
	return bpf_skb_store_bytes(skb, offset, mac, MAC_BYTES, 0) ? REASON_MALFORMED : REASON_NONE;
}

/* `from`: the container's, as it has sent it. */
static __always_inline int hide_in_arp(struct __sk_buff *skb, const __u8 *from, const __u8 *mac)
{
	struct arp arp;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return REASON_MALFORMED;
	if (!is_ordinary(&arp))
		return REASON_NONE;
	if (put_mac(skb, ETH_HLEN + offsetof(struct arp, sender_mac), mac))
		return REASON_MALFORMED;
	/* Who announces itself may do so in both places (RFC 5227 section 3). */
	if (!same_mac(arp.target_mac, from))
		return REASON_NONE;
	return put_mac(skb, ETH_HLEN + offsetof(struct arp, target_mac), mac);
}

/* The options of neighbour discovery that name a station. No sender of ours has more than ND_OPTIONS. */
static __always_inline int hide_in_discovery(struct __sk_buff *skb, const struct packet *packet, const __u8 *mac)
{
	__u8 option[8] __attribute__((aligned(8))), after[8] __attribute__((aligned(8)));
	__u32 offset = packet->transport;
	__u8 type = packet->icmp >> 8;

	if (type == ND_ROUTER_SOLICITATION)
		offset += 8;
	else if (type == ND_ROUTER_ADVERTISEMENT)
		offset += 16;
	else if (type == ND_SOLICITATION || type == ND_ADVERTISEMENT)
		offset += 24;
	else
		return REASON_NONE;
#pragma clang loop unroll(disable)
	for (int i = 0; i < ND_OPTIONS; i++) {
		if (offset + 8 > packet->end || bpf_skb_load_bytes(skb, offset, option, sizeof(option)) || !option[1])
			return REASON_NONE;
		if (option[0] == ND_OPTION_SOURCE || option[0] == ND_OPTION_TARGET) {
			__s64 change;

			after[0] = option[0];
			after[1] = option[1];
			__builtin_memcpy(after + 2, mac, MAC_BYTES);
			change = bpf_csum_diff((__be32 *)option, 8, (__be32 *)after, 8, 0);
			if (put_mac(skb, offset + 2, mac) || bpf_l4_csum_replace(skb, packet->transport + 2, 0, change, 0))
				return REASON_MALFORMED;
		}
		offset += option[1] * 8;
	}
	return REASON_NONE;
}

/* A parsed frame to the wire. A function of its own to the verifier. */
__noinline int l2_out(struct __sk_buff *skb, struct packet *packet, struct uplink *uplink)
{
	void *data = data_of(skb);
	__u8 from[MAC_BYTES], mac[MAC_BYTES];

	if (!packet || !uplink || data + ETH_HLEN > data_end_of(skb))
		return REASON_MALFORMED;
	__builtin_memcpy(from, data + MAC_BYTES, MAC_BYTES);
	__builtin_memcpy(mac, uplink->mac, MAC_BYTES);
	if (put_mac(skb, MAC_BYTES, mac))
		return REASON_MALFORMED;
	if (packet->family == FAMILY_ARP)
		return hide_in_arp(skb, from, mac);
	if (packet->family == FAMILY_IPV6 && packet->protocol == IPPROTO_ICMPV6 && !packet->fragment)
		return hide_in_discovery(skb, packet, mac);
	return REASON_NONE;
}

/* For whose address a frame is; 1 where it tells. */
static __always_inline int wanted(struct __sk_buff *skb, struct addr *address, int *is_arp, struct arp *arp)
{
	__be16 ethertype;
	__be32 ipv4;

	if (bpf_skb_load_bytes(skb, 12, &ethertype, sizeof(ethertype)))
		return 0;
	switch (ethertype) {
	case bpf_htons(ETH_P_IP):
		if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, daddr), &ipv4, sizeof(ipv4)))
			return 0;
		break;
	case bpf_htons(ETH_P_IPV6):
		return !bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, daddr), address, sizeof(*address)) &&
		       !is_mapped(address);
	case bpf_htons(ETH_P_ARP):
		if (bpf_skb_load_bytes(skb, ETH_HLEN, arp, sizeof(*arp)) || !is_ordinary(arp))
			return 0;
		*is_arp = 1;
		__builtin_memcpy(&ipv4, arp->target, sizeof(ipv4));
		break;
	default:
		return 0;
	}
	set_ipv4(address, ipv4);
	return 1;
}

/* The address of who has sent a frame that bears the adapter's station, of who tries an address out that one; 1 where one is named. */
static __always_inline int named_sender(struct __sk_buff *skb, struct addr *address)
{
	struct arp arp;
	__be16 ethertype;
	__be32 ipv4;
	__u8 byte;

	if (bpf_skb_load_bytes(skb, 12, &ethertype, sizeof(ethertype)))
		return 0;
	switch (ethertype) {
	case bpf_htons(ETH_P_IP):
		if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, saddr), &ipv4, sizeof(ipv4)))
			return 0;
		break;
	case bpf_htons(ETH_P_IPV6):
		if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, saddr), address, sizeof(*address)))
			return 0;
		if (!is_unspecified(address))
			return !is_mapped(address);
		if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), &byte, 1) || byte != IPPROTO_ICMPV6)
			return 0;
		if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(struct ipv6hdr), &byte, 1) || byte != ND_SOLICITATION)
			return 0;
		return !bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(struct ipv6hdr) + 8, address, sizeof(*address)) &&
		       !is_unspecified(address) && !is_mapped(address);
	case bpf_htons(ETH_P_ARP):
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)) || !is_ordinary(&arp))
			return 0;
		__builtin_memcpy(&ipv4, arp.sender, sizeof(ipv4));
		if (!ipv4)
			__builtin_memcpy(&ipv4, arp.target, sizeof(ipv4));
		break;
	default:
		return 0;
	}
	set_ipv4(address, ipv4);
	return ipv4 != 0;
}

/* The port of a switch that has this address, unless the host has it as well, or 0. */
static __always_inline struct port *owner_of(struct address_key *key)
{
	__u32 *owner = bpf_map_lookup_elem(&addresses, key);
	struct port *port = owner ? port_at(*(volatile __u32 *)owner) : 0;

	if (!port)
		return 0;
	key->network |= OF_THE_HOST;
	return bpf_map_lookup_elem(&addresses, key) ? 0 : port;
}

enum back {
	BACK_NAMELESS = 0,
	BACK_OF_HOST = 1,
	BACK_OF_PORT = 2, /* and its source is that port's station again */
};

/* Whose a frame to a group is that the wire has sent back. */
__noinline int l2_back(struct __sk_buff *skb, struct uplink *uplink)
{
	struct address_key key = {};
	struct port *port;
	__u8 mac[MAC_BYTES];

	if (!uplink || !named_sender(skb, &key.addr))
		return BACK_NAMELESS;
	key.network = uplink->network;
	port = owner_of(&key);
	if (!port)
		return BACK_OF_HOST;
	__builtin_memcpy(mac, port->mac, MAC_BYTES);
	return put_mac(skb, MAC_BYTES, mac) ? BACK_NAMELESS : BACK_OF_PORT;
}

/* Whether a frame that the wire has sent back is from a neighbour of this port, and one of the two is quiet. */
__noinline int l2_parted(struct __sk_buff *skb, struct uplink *uplink, __u32 ifindex)
{
	struct address_key key = {};
	struct port *port, *target = port_at(ifindex);

	if (!uplink || !target || !named_sender(skb, &key.addr))
		return 0;
	key.network = uplink->network;
	port = owner_of(&key);
	return port && (port->flags | target->flags) & PORT_QUIET;
}

/* Whether what comes for this address of a port is the host's to forward. Nobody routes addresses of the link. */
static __always_inline int is_behind_host(const struct port *port, const struct addr *address)
{
	if (is_mapped(address))
		return port->flags & PORT_BEHIND_HOST4;
	return port->flags & PORT_BEHIND_HOST6 && !is_link_local(address);
}

/* A frame that came for the adapter's station: the link of the port whose address it is for, and the frame is that port's; or 0, and
 * it is the host's. */
__noinline int l2_in(struct __sk_buff *skb, struct uplink *uplink)
{
	struct address_key key = {};
	struct arp arp = {};
	struct port *port;
	__u8 mac[MAC_BYTES];
	int is_arp = 0;

	if (!uplink || !wanted(skb, &key.addr, &is_arp, &arp))
		return 0;
	key.network = uplink->network;
	port = owner_of(&key);
	if (!port || is_behind_host(port, &key.addr))
		return 0;
	__builtin_memcpy(mac, port->mac, MAC_BYTES);
	if (put_mac(skb, 0, mac))
		return 0;
	if (is_arp && same_mac(arp.target_mac, uplink->mac) && put_mac(skb, ETH_HLEN + offsetof(struct arp, target_mac), mac))
		return 0;
	return port->ifindex;
}

#endif
