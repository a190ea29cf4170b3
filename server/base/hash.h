/* SPDX-License-Identifier: Apache-2.0 */
/* base/hash.h : hashes and checksums, all pure. */
#pragma once
#include "base/slice.h"

uint32_t crc32c(uint32_t seed, const void *data,
                size_t len);     /* Castagnoli; seed 0 first, then the last result to go on */
uint64_t hash64(struct slice s); /* XXH3-64, seed 0, default secret */
uint64_t hash64_seed(struct slice s, uint64_t seed);
/* hash_partition_key() - spec ids.md §3: XXH3-64 of the bytes followed by FF. */
uint64_t hash_partition_key(struct slice s);
uint64_t siphash13(const void *data, size_t len); /* SipHash-1-3, key (0, 0) */
void sha256(const struct slice *parts, size_t n, uint8_t ret[32]);
