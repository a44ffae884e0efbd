/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The program of a VXLAN device, which is the same for all overlays with its UDP port that are encrypted, or that are not, and the one
 * of the adapter at which the tunnels of the latter end. What comes out of the tunnel is for a container, and from one that the host
 * which sent it is known to have; everything else is dropped: the host is on no overlay.
 *
 * The adapter's program takes small packets that the host would give to the device anyway. It knows that by the last one of the same
 * host, which came by the device, past the host's firewall: once a second one goes that way.
 */
#ifndef HNS_TUNNEL_H
#define HNS_TUNNEL_H

#define NO_VNI 0xffffffff

/* Whether it is of neighbour discovery, which speaks of the link it is on and of no other (RFC 4861). */
static __always_inline int is_discovery(const struct packet *packet)
{
	__u8 type = packet->icmp >> 8;

	return packet->family == FAMILY_IPV6 && packet->protocol == IPPROTO_ICMPV6 && packet->fragment != FRAGMENT_LATER &&
	       type >= ND_ROUTER_SOLICITATION && type <= ND_REDIRECT;
}

/* Who a frame is from: a tunnel's device, a VNI, the address of the host at the other end. */
struct origin {
	struct addr sender;
	__u32 tunnel;
	__u32 vni;
};

static __always_inline struct overlay *overlay_of(const struct origin *origin, __u32 *network)
{
	struct vni_key key = {};
	__u32 *known;

	key.tunnel = origin->tunnel;
	key.vni = origin->vni;
	known = bpf_map_lookup_elem(&vnis, &key);
	if (!known)
		return 0;
	*network = *(volatile __u32 *)known;
	return bpf_map_lookup_elem(&overlays, network);
}

/* The link of the port that a frame is for, which then comes from the router; or 0, and it is dropped. A function of its own to the
 * verifier, whose memory is free again when the layers of the port run. */
__noinline int out_of_tunnel(struct __sk_buff *skb, struct origin *origin)
{
	struct packet packet = {};
	struct overlay *overlay;
	struct route *route;
	struct port *target;
	__u32 network = 0, port = 0, on_link;
	void *data;
	__u8 from[6], mac[6];
	int reason = REASON_UNKNOWN_VNI;

	if (!origin)
		return 0;
	packet.position = POSITION_FALLBACK;
	overlay = overlay_of(origin, &network);
	if (!overlay)
		goto refused;
	reason = REASON_UNENCRYPTED;
	if (overlay->tunnel != origin->tunnel)
		goto refused;
	reason = parse(skb, &packet);
	if (reason)
		goto refused;
	reason = REASON_UNROUTED;
	data = data_of(skb);
	if (data + ETH_HLEN > data_end_of(skb) || !is_ip(&packet))
		goto refused;
	__builtin_memcpy(from, data + 6, 6);
	reason = REASON_SPOOFED_ND;
	if (is_discovery(&packet))
		goto refused;
	reason = REASON_SPOOFED_TUNNEL;
	route = route_of(network, &packet.source);
	if (!route || !same_address(&route->provider, &origin->sender) || !same_mac(route->station, from))
		goto refused;
	hear(&origin->sender, network);
	reason = REASON_UNROUTED;
	target = resident(network, &packet.destination);
	if (!target)
		goto refused;
	__builtin_memcpy(mac, target->mac, sizeof(mac));
	on_link = route->flags & ROUTE_ON_LINK;
	if (!same_mac(packet.to, overlay->router) && !(on_link && same_mac(packet.to, mac)))
		goto refused;
	port = target->id;
	reason = REASON_QUIET;
	if (target->flags & PORT_QUIET)
		goto refused;
	reason = REASON_MALFORMED;
	if (put_stations(skb, mac, on_link ? from : overlay->router))
		goto refused;
	return target->ifindex;
refused:
	drop(skb, &packet, port, origin->tunnel, DIR_IN, reason);
	return 0;
}

SEC("classifier")
int tunnel_in(struct __sk_buff *skb)
{
	struct origin origin = {};
	__u32 ifindex;
	int vni;

	vni = sender_of(skb, &origin.sender);
	origin.tunnel = skb->ifindex;
	/* No packet has such a one. */
	origin.vni = vni < 0 ? NO_VNI : (__u32)vni;
	ifindex = out_of_tunnel(skb, &origin);
	return ifindex ? deliver(skb, ifindex) : TC_ACT_SHOT;
}

/* Whether the same way through the host, with its firewall and all, was open to this host of an overlay just now. */
static __always_inline int came_lately(struct addr *sender, __u32 network)
{
	struct address_key key = {};
	__u64 *last;

	key.network = network;
	key.addr = *sender;
	last = bpf_map_lookup_elem(&heard, &key);
	return last && bpf_ktime_get_ns() - *last <= HEARD_EVERY;
}

/* Whether a frame at an adapter is a small one of a tunnel, which then has no wrapping any more. A function of its own to the verifier. */
__noinline int unwrapped(struct __sk_buff *skb, struct origin *origin)
{
	const struct wrapping *wrapping;
	void *data = data_of(skb);
	struct tunnel_end end = {};
	struct ethhdr inner;
	__u32 *tunnel, network;

	if (!origin || skb->len > UNWRAPPED_MAX || skb->gso_size || skb->pkt_type != PACKET_FOR_US || skb->vlan_present)
		return 0;
	if (skb->protocol != bpf_htons(ETH_P_IP) || data + ETH_HLEN + WRAPPING_LEN > data_end_of(skb))
		return 0;
	wrapping = data + ETH_HLEN;
	if (!is_wrapped(skb, wrapping))
		return 0;
	end.provider = wrapping->ip.daddr;
	end.udp_port = wrapping->udp.dest;
	tunnel = bpf_map_lookup_elem(&tunnel_ends, &end);
	if (!tunnel)
		return 0;
	origin->tunnel = *(volatile __u32 *)tunnel;
	origin->vni = bpf_ntohl(wrapping->vni) >> 8;
	set_ipv4(&origin->sender, wrapping->ip.saddr);
	inner = wrapping->inner;
	if (inner.h_proto != bpf_htons(ETH_P_IP) && inner.h_proto != bpf_htons(ETH_P_IPV6))
		return 0;
	return overlay_of(origin, &network) && came_lately(&origin->sender, network) && unwrap(skb, &inner);
}

/* What the adapter receives at which tunnels end. Most of it is none of ours. */
SEC("classifier")
int tunnel_near(struct __sk_buff *skb)
{
	struct origin origin = {};
	__u32 ifindex;

	if (!unwrapped(skb, &origin))
		return TC_ACT_UNSPEC;
	ifindex = out_of_tunnel(skb, &origin);
	return ifindex ? deliver(skb, ifindex) : TC_ACT_SHOT;
}

#endif
