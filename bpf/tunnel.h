/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The program of the VXLAN device, which is the same for all overlays with its UDP port. What comes out of the tunnel is for a
 * container, and from one that the host which sent it is known to have; everything else is dropped: the host is on no overlay.
 */
#ifndef HNS_TUNNEL_H
#define HNS_TUNNEL_H

/* Whether it is of neighbour discovery, which speaks of the link it is on and of no other (RFC 4861). */
static __always_inline int is_discovery(const struct packet *packet)
{
	__u8 type = packet->icmp >> 8;

	return packet->family == FAMILY_IPV6 && packet->protocol == IPPROTO_ICMPV6 && packet->fragment != FRAGMENT_LATER &&
	       type >= ND_ROUTER_SOLICITATION && type <= ND_REDIRECT;
}

/* The link of the port that a frame is for, which then comes from the router; or 0, and it is dropped. A function of its own to the
 * verifier, whose memory is free again when the layers of the port run. */
__noinline int out_of_tunnel(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct vni_key key = {};
	struct addr sender = {};
	struct overlay *overlay;
	struct route *route;
	struct port *target;
	__u32 *known, network, port = 0;
	void *data;
	__u8 from[6], mac[6];
	int vni, reason = REASON_UNKNOWN_VNI;

	packet.position = POSITION_FALLBACK;
	vni = sender_of(skb, &sender);
	key.tunnel = skb->ifindex;
	key.vni = vni;
	known = vni < 0 ? 0 : bpf_map_lookup_elem(&vnis, &key);
	if (!known)
		goto refused;
	network = *(volatile __u32 *)known;
	overlay = bpf_map_lookup_elem(&overlays, &network);
	if (!overlay)
		goto refused;
	reason = parse(skb, &packet);
	if (reason)
		goto refused;
	reason = REASON_UNROUTED;
	data = data_of(skb);
	if (data + ETH_HLEN > data_end_of(skb) || !is_ip(&packet) || !same_mac(packet.to, overlay->router))
		goto refused;
	__builtin_memcpy(from, data + 6, 6);
	reason = REASON_SPOOFED_ND;
	if (is_discovery(&packet))
		goto refused;
	reason = REASON_SPOOFED_TUNNEL;
	route = route_of(network, &packet.source);
	if (!route || !same_address(&route->provider, &sender) || !same_mac(route->router, from))
		goto refused;
	hear(&sender, network);
	reason = REASON_UNROUTED;
	target = resident(network, &packet.destination);
	if (!target)
		goto refused;
	port = target->id;
	reason = REASON_QUIET;
	if (target->flags & PORT_QUIET)
		goto refused;
	reason = REASON_MALFORMED;
	__builtin_memcpy(mac, target->mac, sizeof(mac));
	if (put_stations(skb, mac, overlay->router))
		goto refused;
	return target->ifindex;
refused:
	drop(skb, &packet, port, skb->ifindex, DIR_IN, reason);
	return 0;
}

SEC("classifier")
int tunnel_in(struct __sk_buff *skb)
{
	__u32 ifindex = out_of_tunnel(skb);

	return ifindex ? deliver(skb, ifindex) : TC_ACT_SHOT;
}

#endif
