/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Layer security: a container speaks under its own MAC and addresses only, also inside ARP (RFC 826) and neighbour discovery
 * (RFC 4861), and is neither router nor DHCP server.
 */
#ifndef HNS_SECURITY_H
#define HNS_SECURITY_H

#include "../lib/maps.h"
#include "../lib/packet.h"

#define PORT_DHCP_SERVER bpf_htons(67)
#define PORT_DHCP_CLIENT bpf_htons(68)
#define PORT_DHCP6_CLIENT bpf_htons(546)

#define ND_OPTION_SOURCE 1 /* link-layer address */
#define ND_OPTION_TARGET 2
#define ND_OPTIONS 8

/* RFC 826, for IPv4 over Ethernet. */
struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
} __attribute__((packed, aligned(4)));

static __always_inline int is_own(__u32 ifindex, const struct port *port, const struct addr *address)
{
	struct address_key key;
	__u32 *owner;

	if (is_unspecified(address))
		return 0;
	if (same_address(&port->own[0], address) || same_address(&port->own[1], address) ||
	    same_address(&port->own[2], address) || same_address(&port->own[3], address))
		return 1;
	if (!(port->flags & PORT_MORE_ADDRESSES))
		return 0;
	key.network = port->network;
	key.addr = *address;
	owner = bpf_map_lookup_elem(&addresses, &key);
	return owner && *owner == ifindex;
}

/* fe80::/64 with the modified EUI-64 of the port's MAC (RFC 4291 appendix A). */
static __always_inline int is_own_link_local(const struct port *port, const struct addr *address)
{
	const __u8 *mac = port->mac;

	return word(address, 0) == bpf_htonl(0xfe800000) && !word(address, 1) && address->b[8] == (mac[0] ^ 2) &&
	       address->b[9] == mac[1] && address->b[10] == mac[2] && address->b[11] == 0xff && address->b[12] == 0xfe &&
	       address->b[13] == mac[3] && address->b[14] == mac[4] && address->b[15] == mac[5];
}

static __always_inline int guard_arp(struct __sk_buff *skb, __u32 ifindex, const struct port *port)
{
	struct addr sender;
	struct arp arp;
	__be32 ipv4;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return REASON_MALFORMED;
	if (arp.hardware != bpf_htons(1) || arp.protocol != bpf_htons(ETH_P_IP) || arp.hardware_length != 6 ||
	    arp.protocol_length != 4 || !same_mac(arp.sender_mac, port->mac))
		return REASON_SPOOFED_ARP;
	__builtin_memcpy(&ipv4, arp.sender, 4);
	/* A probe for an address conflict has no sender (RFC 5227 section 1.1). */
	if (!ipv4)
		return REASON_NONE;
	set_ipv4(&sender, ipv4);
	return is_own(ifindex, port, &sender) ? REASON_NONE : REASON_SPOOFED_ARP;
}

/* The options of a solicitation or advertisement from `offset` on: each link-layer address is the port's. */
static __always_inline int guard_nd_options(struct __sk_buff *skb, const struct packet *packet, const struct port *port,
					    __u32 offset)
{
	__u8 option[8];

#pragma clang loop unroll(disable)
	for (int i = 0; i < ND_OPTIONS; i++) {
		if (offset == packet->end)
			return REASON_NONE;
		if (offset + 8 > packet->end || bpf_skb_load_bytes(skb, offset, option, sizeof(option)))
			return REASON_SPOOFED_ND;
		if ((option[0] == ND_OPTION_SOURCE || option[0] == ND_OPTION_TARGET) && !same_mac(option + 2, port->mac))
			return REASON_SPOOFED_ND;
		offset += option[1] * 8;
		if (!option[1] || offset > packet->end)
			return REASON_SPOOFED_ND;
	}
	return offset == packet->end ? REASON_NONE : REASON_SPOOFED_ND;
}

/* Of an ICMPv6 packet whose source is known to be own or ::. */
__noinline int guard_nd(struct __sk_buff *skb, struct packet *packet, struct port *port)
{
	struct addr target;
	__u32 fixed = 24;
	__u8 type;

	if (!packet || !port)
		return REASON_MALFORMED;
	type = packet->icmp >> 8;
	if (type == ND_ROUTER_SOLICITATION)
		fixed = 8;
	else if (type != ND_SOLICITATION && type != ND_ADVERTISEMENT)
		return REASON_NONE;
	/* In fragments it is no use to an honest sender (RFC 6980). */
	if (packet->fragment || packet->transport + fixed > packet->end)
		return REASON_SPOOFED_ND;
	/* One may ask for everybody's address, but claim and try out one's own only. */
	if (type == ND_ADVERTISEMENT || (type == ND_SOLICITATION && is_unspecified(&packet->source))) {
		if (bpf_skb_load_bytes(skb, packet->transport + 8, &target, sizeof(target)))
			return REASON_SPOOFED_ND;
		if (!is_own_link_local(port, &target) && !is_own(skb->ifindex, port, &target))
			return REASON_SPOOFED_ND;
	}
	return guard_nd_options(skb, packet, port, packet->transport + fixed);
}

/* Who may speak without an address: DHCP clients, duplicate address detection (RFC 4862), whoever looks for a router
 * (RFC 4861 section 4.1), listeners' reports (RFC 3590). */
static __always_inline int may_be_nameless(const struct packet *packet)
{
	__u8 type = packet->icmp >> 8;

	if (packet->fragment == FRAGMENT_LATER)
		return 0;
	if (packet->protocol == IPPROTO_UDP)
		return packet->family == FAMILY_IPV4 && packet->source_port == PORT_DHCP_CLIENT &&
		       packet->destination_port == PORT_DHCP_SERVER;
	return packet->protocol == IPPROTO_ICMPV6 &&
	       (type == ND_SOLICITATION || type == ND_ROUTER_SOLICITATION || type == MLD_REPORT || type == MLD_DONE || type == MLD_REPORT_2);
}

static __always_inline int guard_source(__u32 ifindex, const struct packet *packet, const struct port *port)
{
	struct addr nameless = {};

	if (is_own(ifindex, port, &packet->source))
		return REASON_NONE;
	if (packet->family == FAMILY_IPV6 && is_own_link_local(port, &packet->source))
		return REASON_NONE;
	if (packet->family == FAMILY_IPV4)
		set_ipv4(&nameless, 0);
	if (same_address(&packet->source, &nameless) && may_be_nameless(packet))
		return REASON_NONE;
	return REASON_SPOOFED_IP;
}

static __always_inline int is_rogue_dhcp(const struct packet *packet)
{
	if (packet->protocol != IPPROTO_UDP || packet->fragment == FRAGMENT_LATER)
		return 0;
	/* By the client's port alone: a client does not ask which port its answer comes from. */
	return packet->destination_port == (packet->family == FAMILY_IPV4 ? PORT_DHCP_CLIENT : PORT_DHCP6_CLIENT);
}

/* Source MAC, ARP, source address, neighbour discovery. */
static __always_inline int guard_claims(struct __sk_buff *skb, struct packet *packet, struct port *port)
{
	void *data = data_of(skb);
	int reason;

	if (data + ETH_HLEN > data_end_of(skb))
		return REASON_MALFORMED;
	if (!same_mac(data + 6, port->mac))
		return REASON_SPOOFED_MAC;
	if (packet->family == FAMILY_FOREIGN)
		return REASON_ETHERTYPE;
	if (packet->family == FAMILY_ARP)
		return guard_arp(skb, skb->ifindex, port);
	reason = guard_source(skb->ifindex, packet, port);
	if (reason || packet->protocol != IPPROTO_ICMPV6 || packet->fragment == FRAGMENT_LATER)
		return reason;
	return guard_nd(skb, packet, port);
}

/* On no wire (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3); a switch with ports published on 127.0.0.1 would take it, and what
 * listens on the host's own loopback would hear it while the host's rules are gone. */
static __always_inline int is_to_loopback(const struct packet *packet)
{
	const struct addr *to = &packet->destination;
	struct addr loopback = {};

	if (packet->family == FAMILY_IPV4)
		return to->b[12] == 127;
	loopback.b[15] = 1;
	return packet->family == FAMILY_IPV6 && same_address(to, &loopback);
}

static __always_inline int security_out(struct __sk_buff *skb, struct packet *packet, struct port *port)
{
	__u8 type = packet->icmp >> 8;
	int reason;

	if (port->flags & PORT_GUARD_SPOOF) {
		reason = guard_claims(skb, packet, port);
		if (reason)
			return reason;
	}
	if (is_to_loopback(packet))
		return REASON_LOOPBACK;
	if (port->flags & PORT_GUARD_RA && packet->protocol == IPPROTO_ICMPV6 &&
	    (type == ND_ROUTER_ADVERTISEMENT || type == ND_REDIRECT))
		return REASON_ROGUE_RA;
	if (port->flags & PORT_GUARD_DHCP && is_rogue_dhcp(packet))
		return REASON_ROGUE_DHCP;
	return REASON_NONE;
}

/* What the rules could not read does not come in to where they matter. */
static __always_inline int security_in(const struct packet *packet, const struct port *port)
{
	return packet->family == FAMILY_FOREIGN && port->flags & PORT_STATEFUL ? REASON_ETHERTYPE : REASON_NONE;
}

#endif
