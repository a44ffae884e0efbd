/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Small packets between hosts without the VXLAN device: the program wraps them up itself, as the device would (RFC 7348), and hands
 * them to the adapter; and takes out what comes so. Over IPv4 alone, since over IPv6 the outer checksum covers all of the packet.
 */
#ifndef HNS_WRAPPING_H
#define HNS_WRAPPING_H

#include <linux/udp.h>

#include "../lib/maps.h"
#include "../lib/packet.h"

/* sys/socket.h needs a C library. */
#ifndef AF_INET
#define AF_INET 2
#endif
/* Flags that the headers of older distributions lack. */
#define LOOKUP_WITHOUT_NEIGHBOUR (1U << 2) /* BPF_FIB_LOOKUP_SKIP_NEIGH */
#define ROOM_LEAVES_IPV6 (1ULL << 8) /* BPF_F_ADJ_ROOM_DECAP_L3_IPV6 */

#define TUNNEL_HOPS 64
#define VXLAN_FLAGS bpf_htonl(0x08000000) /* there is a VNI, and nothing else */
#define ECN_MASK 3
#define ECN_ECT0 2
#define ECN_CE 3
/* Larger ones may be part of a stream that is merged before the device, and must not overtake it. */
#define UNWRAPPED_MAX 400

/* What stands before a container's packet, behind the outer Ethernet header. */
struct wrapping {
	struct iphdr ip;
	struct udphdr udp;
	__be32 vxlan;
	__be32 vni; /* above eight bits of nothing */
	struct ethhdr inner;
};
#define WRAPPING_LEN (offsetof(struct wrapping, inner) + sizeof(struct ethhdr))

static __always_inline __u16 ip_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The port of the device's own choice, so that all packets of a connection take one way (udp_flow_src_port of the kernel). */
static __always_inline __be16 source_port(struct __sk_buff *skb)
{
	__u32 hash = bpf_get_hash_recalc(skb);

	hash ^= hash << 16;
	return bpf_htons((__u16)(((__u64)hash * (TUNNEL_SOURCES_END - TUNNEL_SOURCES)) >> 32) + TUNNEL_SOURCES);
}

/* What the outer header says of congestion (RFC 6040 section 4.1, normal mode of the kernel). */
static __always_inline __u8 outer_ecn(struct __sk_buff *skb, __be16 ethertype)
{
	__u8 field[2], ecn;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, field, sizeof(field)))
		return 0;
	ecn = (ethertype == bpf_htons(ETH_P_IP) ? field[1] : field[1] >> 4) & ECN_MASK;
	return ecn == ECN_CE ? ECN_ECT0 : ecn;
}

/* Sends a frame to another host's router, whose station it bears already; 0: it is for the device. A function of its own to the
 * verifier. */
__noinline int send_wrapped(struct __sk_buff *skb, struct overlay *overlay, struct route *route)
{
	struct bpf_redir_neigh next = {};
	struct wrapping wrapping = {};
	struct bpf_fib_lookup way = {};

	/* What the kernel has still to cut into segments it cuts behind the device. */
	if (!overlay || !route || skb->gso_size || bpf_skb_load_bytes(skb, 0, &wrapping.inner, sizeof(wrapping.inner)))
		return 0;
	wrapping.ip.version = 4;
	wrapping.ip.ihl = sizeof(wrapping.ip) / 4;
	wrapping.ip.tos = outer_ecn(skb, wrapping.inner.h_proto);
	wrapping.ip.tot_len = bpf_htons(skb->len - ETH_HLEN + WRAPPING_LEN);
	wrapping.ip.id = (__u16)bpf_get_prandom_u32();
	wrapping.ip.ttl = TUNNEL_HOPS;
	wrapping.ip.protocol = IPPROTO_UDP;
	wrapping.ip.saddr = word(&overlay->provider, 3);
	wrapping.ip.daddr = word(&route->provider, 3);
	wrapping.ip.check = ip_checksum(&wrapping.ip);
	wrapping.udp.source = source_port(skb);
	wrapping.udp.dest = overlay->udp_port;
	wrapping.udp.len = bpf_htons(skb->len - ETH_HLEN + WRAPPING_LEN - sizeof(wrapping.ip));
	wrapping.vxlan = VXLAN_FLAGS;
	wrapping.vni = bpf_htonl(route->vni << 8);
	/* As what comes out of the device would be routed: that is forwarded by this host's own word. */
	way.family = AF_INET;
	way.l4_protocol = IPPROTO_UDP;
	way.sport = wrapping.udp.source;
	way.dport = wrapping.udp.dest;
	way.tot_len = skb->len - ETH_HLEN + WRAPPING_LEN;
	way.ifindex = overlay->tunnel;
	way.ipv4_src = wrapping.ip.saddr;
	way.ipv4_dst = wrapping.ip.daddr;
	if (bpf_fib_lookup(skb, &way, sizeof(way), LOOKUP_WITHOUT_NEIGHBOUR))
		return 0;
	next.nh_family = way.family;
	if (way.family == AF_INET)
		next.ipv4_nh = way.ipv4_dst;
	else
		__builtin_memcpy(next.ipv6_nh, way.ipv6_dst, sizeof(next.ipv6_nh));
	if (bpf_skb_adjust_room(skb, WRAPPING_LEN, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2_ETH |
					BPF_F_ADJ_ROOM_ENCAP_L2(WRAPPING_LEN - sizeof(wrapping.ip) - sizeof(wrapping.udp)) |
					BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return 0;
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &wrapping, WRAPPING_LEN, 0))
		return -1;
	skb->cb[CB_TARGET] = way.ifindex;
	return bpf_redirect_neigh(way.ifindex, &next, sizeof(next), 0);
}

/* Whether a frame has nothing but a wrapping in front of the container's: no options, no fragment, nothing to be verified or noted. */
static __always_inline int is_wrapped(const struct __sk_buff *skb, const struct wrapping *wrapping)
{
	const struct iphdr *ip = &wrapping->ip;

	return ip->version == 4 && ip->ihl == sizeof(*ip) / 4 && ip->protocol == IPPROTO_UDP && !(ip->frag_off & bpf_htons(0x3fff)) &&
	       (ip->tos & ECN_MASK) != ECN_CE && skb->len == ETH_HLEN + bpf_ntohs(ip->tot_len) && !ip_checksum(ip) &&
	       !wrapping->udp.check && bpf_ntohs(wrapping->udp.len) + sizeof(*ip) == bpf_ntohs(ip->tot_len) &&
	       wrapping->vxlan == VXLAN_FLAGS && !(wrapping->vni & bpf_htonl(0xff));
}

/* Takes the wrapping off a frame; 1 when it has. */
static __always_inline int unwrap(struct __sk_buff *skb, struct ethhdr *inner)
{
	__u64 family = inner->h_proto == bpf_htons(ETH_P_IPV6) ? ROOM_LEAVES_IPV6 : 0;

	if (bpf_skb_adjust_room(skb, -(__s32)WRAPPING_LEN, BPF_ADJ_ROOM_MAC, family | BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return 0;
	/* A checksum that the adapter has verified was that of the outermost datagram first. */
	bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
	return !bpf_skb_store_bytes(skb, 0, inner, sizeof(*inner), 0);
}

#endif
