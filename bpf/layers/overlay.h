/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Layer overlay: a network whose containers are on several hosts. Each host has some prefixes of it, and a router that is nowhere but
 * here: it answers for its addresses, leads to containers of this host, and through a VXLAN tunnel (RFC 7348) to the routers of
 * others. Containers of other hosts may be on one link with those here: they are answered for, and reached without a router. Nothing
 * is flooded and nothing is learnt: which host has which prefix and which container is written.
 */
#ifndef HNS_OVERLAY_H
#define HNS_OVERLAY_H

#include "../lib/maps.h"
#include "../lib/packet.h"
#include "../lib/ports.h"
#include "l2.h"
#include "security.h"
#include "wrapping.h"

#define ARP_REQUEST bpf_htons(1)
#define ARP_REPLY bpf_htons(2)
/* Asked for, and in place of what was known; the first bit is a router's (RFC 4861 section 4.4). */
#define ND_ANSWER_FLAGS bpf_htonl(0x60000000)
#define ND_ROUTER_FLAGS bpf_htonl(0xe0000000)

/* Which host has an address, or 0. */
static __always_inline struct route *route_of(__u32 network, const struct addr *address)
{
	struct route_key key = {};

	key.prefixlen = 32 + 128;
	key.network = network;
	key.addr = *address;
	return bpf_map_lookup_elem(&routes, &key);
}

/* Whether this is an address of the overlay's own router. */
static __always_inline int is_routers(__u32 network, const struct addr *address)
{
	struct address_key key = {};
	__u32 *owner;

	key.network = network;
	key.addr = *address;
	owner = bpf_map_lookup_elem(&addresses, &key);
	return owner && *(volatile __u32 *)owner == OWNER_ROUTER;
}

/* Whose station is told to who asks for it: the router's, that of a container of another host, or nobody's. */
static __always_inline const __u8 *station_of(__u32 network, const struct addr *address, const struct overlay *overlay)
{
	struct route *route;

	if (is_routers(network, address))
		return overlay->router;
	route = route_of(network, address);
	return route && route->flags & ROUTE_ON_LINK ? route->station : 0;
}

/* From the router to this station. */
static __always_inline int put_stations(struct __sk_buff *skb, const __u8 *to, const __u8 *from)
{
	return put_mac(skb, 0, to) || put_mac(skb, MAC_BYTES, from) ? REASON_MALFORMED : REASON_NONE;
}

/* An ARP request becomes its answer; 1 when it has. A function of its own to the verifier. */
__noinline int answer_arp(struct __sk_buff *skb, struct overlay *overlay, __u32 network)
{
	struct arp arp, answer;
	struct addr target = {};
	const __u8 *station;
	__be32 ipv4;

	if (!overlay || bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return 0;
	if (!is_ordinary(&arp) || arp.operation != ARP_REQUEST)
		return 0;
	__builtin_memcpy(&ipv4, arp.target, sizeof(ipv4));
	set_ipv4(&target, ipv4);
	station = station_of(network, &target, overlay);
	if (!station)
		return 0;
	answer = arp;
	answer.operation = ARP_REPLY;
	__builtin_memcpy(answer.sender_mac, station, MAC_BYTES);
	__builtin_memcpy(answer.sender, arp.target, sizeof(arp.target));
	__builtin_memcpy(answer.target_mac, arp.sender_mac, MAC_BYTES);
	__builtin_memcpy(answer.target, arp.sender, sizeof(arp.sender));
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &answer, sizeof(answer), 0))
		return 0;
	return !put_stations(skb, arp.sender_mac, answer.sender_mac);
}

/* What differs between a neighbour solicitation and its answer, each part a multiple of four bytes. */
struct discovery {
	struct addr source;
	struct addr destination;
	__u8 type;
	__u8 code;
	__u16 zero;
	__be32 flags;
	__u8 option[8];
} __attribute__((aligned(8)));

/* A neighbour solicitation becomes its answer; 1 when it has. */
__noinline int answer_nd(struct __sk_buff *skb, struct packet *packet, struct overlay *overlay, __u32 network)
{
	struct discovery asked = {}, answer = {};
	struct addr target = {};
	const __u8 *station;
	__u32 at, mac_at;
	__u8 from[MAC_BYTES];

	if (!packet || !overlay)
		return 0;
	at = packet->transport;
	/* As every system sends it to ask for a station: with its own, and nothing else. */
	if (packet->fragment || packet->end != at + 32 || is_unspecified(&packet->source))
		return 0;
	if (bpf_skb_load_bytes(skb, at + 8, &target, sizeof(target)))
		return 0;
	station = station_of(network, &target, overlay);
	if (!station)
		return 0;
	mac_at = at + 24;
	if (bpf_skb_load_bytes(skb, mac_at, asked.option, sizeof(asked.option)) || asked.option[0] != ND_OPTION_SOURCE ||
	    asked.option[1] != 1 || bpf_skb_load_bytes(skb, at + 4, &asked.flags, sizeof(asked.flags)) ||
	    bpf_skb_load_bytes(skb, MAC_BYTES, from, sizeof(from)))
		return 0;
	asked.source = packet->source;
	asked.destination = packet->destination;
	asked.type = ND_SOLICITATION;
	asked.code = (__u8)packet->icmp;
	answer.source = target;
	answer.destination = packet->source;
	answer.type = ND_ADVERTISEMENT;
	answer.flags = station == overlay->router ? ND_ROUTER_FLAGS : ND_ANSWER_FLAGS;
	answer.option[0] = ND_OPTION_TARGET;
	answer.option[1] = 1;
	__builtin_memcpy(answer.option + 2, station, MAC_BYTES);
	if (bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, saddr), &answer.source, sizeof(answer.source), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, daddr), &answer.destination, sizeof(answer.destination), 0) ||
	    bpf_skb_store_bytes(skb, at, &answer.type, 2, 0) ||
	    bpf_skb_store_bytes(skb, at + 4, &answer.flags, sizeof(answer.flags), 0) ||
	    bpf_skb_store_bytes(skb, mac_at, answer.option, sizeof(answer.option), 0) ||
	    bpf_l4_csum_replace(skb, at + 2, 0,
				bpf_csum_diff((__be32 *)&asked, sizeof(asked), (__be32 *)&answer, sizeof(answer), 0), 0))
		return 0;
	return !put_stations(skb, from, answer.option + 2);
}

/* Whether the packet asks for the router's station, and has become the answer. */
static __always_inline int is_answered(struct __sk_buff *skb, struct packet *packet, struct overlay *overlay, __u32 network)
{
	if (packet->family == FAMILY_ARP)
		return answer_arp(skb, overlay, network);
	if (packet->family == FAMILY_IPV6 && packet->protocol == IPPROTO_ICMPV6 && packet->icmp >> 8 == ND_SOLICITATION)
		return answer_nd(skb, packet, overlay, network);
	return 0;
}

/* The port of this host that has an address of the overlay, or 0. */
static __always_inline struct port *resident(__u32 network, const struct addr *address)
{
	struct address_key key = {};
	struct port *port;
	__u32 *owner;

	key.network = network;
	key.addr = *address;
	owner = bpf_map_lookup_elem(&addresses, &key);
	port = owner ? port_at(*(volatile __u32 *)owner) : 0;
	return port && port->network == network ? port : 0;
}

/* Addresses of the tunnel key are in the machine's order where they are of IPv4. */
static __always_inline int is_ipv4(const struct addr *address)
{
	return !word(address, 0) && !word(address, 1) && word(address, 2) == bpf_htonl(0xffff);
}

/* Tells the VXLAN device where a frame goes. A function of its own to the verifier. */
__noinline int mark_for_tunnel(struct __sk_buff *skb, struct overlay *overlay, struct route *route)
{
	struct bpf_tunnel_key key = {};
	__u64 flags;

	if (!overlay || !route)
		return REASON_MALFORMED;
	key.tunnel_id = route->vni;
	key.tunnel_ttl = TUNNEL_HOPS;
	if (is_ipv4(&route->provider)) {
		key.remote_ipv4 = bpf_ntohl(word(&route->provider, 3));
		key.local_ipv4 = bpf_ntohl(word(&overlay->provider, 3));
		flags = BPF_F_ZERO_CSUM_TX;
	} else {
		__builtin_memcpy(key.remote_ipv6, &route->provider, sizeof(key.remote_ipv6));
		__builtin_memcpy(key.local_ipv6, &overlay->provider, sizeof(key.local_ipv6));
		flags = BPF_F_TUNINFO_IPV6;
	}
	return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags) ? REASON_UNWIRED : REASON_NONE;
}

/* Which host a frame out of the tunnel comes from; its VNI, or a negative number. */
__noinline int sender_of(struct __sk_buff *skb, struct addr *sender)
{
	struct bpf_tunnel_key key = {};

	if (!sender)
		return -1;
	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0)) {
		set_ipv4(sender, bpf_htonl(key.remote_ipv4));
		return (int)(key.tunnel_id & 0xffffff);
	}
	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
		return -1;
	__builtin_memcpy(sender, key.remote_ipv6, sizeof(*sender));
	return (int)(key.tunnel_id & 0xffffff);
}

/* Another host of a network has sent something that is taken. A function of its own to the verifier. */
__noinline int hear(struct addr *sender, __u32 network)
{
	struct address_key key = {};
	__u64 now = bpf_ktime_get_ns(), *last;

	if (!sender)
		return 0;
	key.network = network;
	key.addr = *sender;
	last = bpf_map_lookup_elem(&heard, &key);
	if (!last || now - *last > HEARD_EVERY)
		bpf_map_update_elem(&heard, &key, &now, BPF_ANY);
	return 0;
}

#endif
