/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps, by the names of core/abi/src/map.rs. Hashes do not preallocate: an idle host pays for what it has.
 *
 * The arrays can be mapped by the daemon. The kernel rounds the size of an array's elements up to 8 bytes, so in a mapping the
 * elements of `slots`, `set_spaces` and `directory` (__u32) stand 8 bytes apart, those of `chunks` 64.
 *
 * An element of such a hash that is replaced or deleted is the next one's memory at once, while a program may still read it. What
 * is read of `stations` and `high_slots` is therefore held against the record that it leads to, and entries of the ACLs' hashes are
 * written once and deleted when no program reads them any more.
 */
#ifndef HNS_MAPS_H
#define HNS_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "abi.h"

#define HASH(NAME, KEY, VALUE, ENTRIES)                                                                                         \
	struct {                                                                                                                    \
		__uint(type, BPF_MAP_TYPE_HASH);                                                                                        \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                                   \
		__uint(max_entries, ENTRIES);                                                                                           \
		__type(key, KEY);                                                                                                       \
		__type(value, VALUE);                                                                                                   \
	} NAME SEC(".maps")

#define LRU_HASH(NAME, KEY, VALUE, ENTRIES)                                                                                     \
	struct {                                                                                                                    \
		__uint(type, BPF_MAP_TYPE_LRU_HASH);                                                                                    \
		__uint(max_entries, ENTRIES);                                                                                           \
		__type(key, KEY);                                                                                                       \
		__type(value, VALUE);                                                                                                   \
	} NAME SEC(".maps")

#define PREFIXES(NAME, KEY, VALUE, ENTRIES)                                                                                     \
	struct {                                                                                                                    \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                                                                    \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                                   \
		__uint(max_entries, ENTRIES);                                                                                           \
		__type(key, KEY);                                                                                                       \
		__type(value, VALUE);                                                                                                   \
	} NAME SEC(".maps")

#define MAPPED_ARRAY(NAME, VALUE, ENTRIES)                                                                                      \
	struct {                                                                                                                    \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                                       \
		__uint(map_flags, BPF_F_MMAPABLE);                                                                                      \
		__uint(max_entries, ENTRIES);                                                                                           \
		__type(key, __u32);                                                                                                     \
		__type(value, VALUE);                                                                                                   \
	} NAME SEC(".maps")

MAPPED_ARRAY(slots, __u32, LOW_IFINDEXES);
HASH(high_slots, __u32, __u32, PORTS_MAX);
MAPPED_ARRAY(ports, struct port, PORTS_MAX);
HASH(addresses, struct address_key, __u32, ADDRESSES_MAX);
HASH(stations, struct station_key, __u32, PORTS_MAX);

HASH(uplinks, struct uplink_key, struct uplink, UPLINKS_MAX);
HASH(exits, __u32, struct uplink, EXITS_MAX);

HASH(overlays, __u32, struct overlay, OVERLAYS_MAX);
HASH(tunnel_ends, struct tunnel_end, __u32, OVERLAYS_MAX);
HASH(vnis, struct vni_key, __u32, VNIS_MAX);
PREFIXES(routes, struct route_key, struct route, ROUTES_MAX);
LRU_HASH(heard, struct address_key, __u64, HEARD_MAX);

HASH(rulesets, __u32, struct ruleset, RULESETS_MAX);
PREFIXES(address_classes, struct address_class_key, __u32, CLASSES_MAX);
PREFIXES(port_classes, struct port_class_key, __u32, CLASSES_MAX);
MAPPED_ARRAY(set_spaces, __u32, SET_SPACES_MAX);
PREFIXES(set_classes, struct set_class_key, __u32, SET_CLASSES_MAX);
HASH(set_rows, struct set_row_key, __u32, SET_ROWS_MAX);
MAPPED_ARRAY(directory, __u32, DIRECTORY_MAX);
MAPPED_ARRAY(chunks, struct chunk, CHUNKS_MAX);
HASH(rules, struct rule_key, struct rule_entry, RULE_ENTRIES_MAX);

HASH(hits, struct hit_key, __u64, HITS_MAX);

LRU_HASH(embryonic, struct flow_key, struct flow, EMBRYONIC_MAX);
HASH(established, struct flow_key, struct flow, ESTABLISHED_MAX);
LRU_HASH(strays, struct flow_key, struct flow, STRAYS_MAX);
HASH(tallies, __u32, __u64, PORTS_MAX);
LRU_HASH(fragments, struct fragment_key, struct fragment, FRAGMENTS_MAX);

HASH(meters, struct meter_key, struct meter, METERS_MAX);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DROPS_MAX);
	__type(key, struct drop_key);
	__type(value, __u64);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENTS_BYTES);
} events SEC(".maps");

MAPPED_ARRAY(watching, __u32, 1);
MAPPED_ARRAY(watches, struct watch, WATCHES_MAX);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SIGHTINGS_BYTES);
} sightings SEC(".maps");

#endif
