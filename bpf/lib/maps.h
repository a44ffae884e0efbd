/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps, by the names of core/abi/src/map.rs. Hashes do not preallocate: an idle host pays for what it has.
 *
 * `directory`, `chunks` and `choices` can be mapped by the daemon. The kernel rounds the size of an array's elements up to 8
 * bytes, so in a mapping the elements of `directory` and `choices` (__u32) stand 8 bytes apart, those of `chunks` 64.
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

HASH(ports, __u32, struct port, 65536);
HASH(addresses, struct address_key, __u32, 262144);
HASH(stations, struct station_key, __u32, 65536);

HASH(rulesets, __u32, struct ruleset, 131072);
PREFIXES(address_classes, struct address_class_key, __u32, 2097152);
PREFIXES(port_classes, struct port_class_key, __u32, 2097152);
MAPPED_ARRAY(directory, __u32, 4194304);
MAPPED_ARRAY(chunks, struct chunk, 262144);
HASH(rules, struct rule_key, struct rule_entry, 1048576);

LRU_HASH(embryonic, struct flow_key, struct flow, 65536);
HASH(established, struct flow_key, struct flow, 524288);
HASH(bindings, struct flow_key, struct tuple, 524288);
LRU_HASH(fragments, struct fragment_key, struct fragment, 16384);

HASH(services, struct service_key, struct service, 262144);
MAPPED_ARRAY(choices, __u32, 1048576);
HASH(backends, __u32, struct backend, 262144);
LRU_HASH(affinities, struct affinity_key, struct affinity, 65536);

HASH(meters, struct meter_key, struct meter, 131072);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct drop_key);
	__type(value, __u64);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1048576);
} events SEC(".maps");

#endif
