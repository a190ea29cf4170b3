/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "base/hash.h"

static void partition_hash_matches_the_spec_table(void **state) {
    static const struct {
        const char *s;
        uint64_t h;
    } rows[] = {{"", 0xd6bcec3c6b29d72e},
                {"k1", 0x548ae3cba54055b3},
                {"w1", 0x5164c775648d211b},
                {"user-42", 0x56394c3e63e96706},
                {"a key/with slash", 0x75da542315058ee4},
                {"abc", 0x6ffc8c6245e63b16}};
    char x[600];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(hash_partition_key(slice_str(rows[i].s)), rows[i].h);
    memset(x, 'x', sizeof x);
    assert_int_equal(hash_partition_key(slice_of(x, 31)), 0xb313bb266592a6aa);
    assert_int_equal(hash_partition_key(slice_of(x, 120)), 0xabf29ca0f33ad816);
    assert_int_equal(hash_partition_key(slice_of(x, 240)), 0xee48cb59bc1a746a);
    assert_int_equal(hash_partition_key(slice_of(x, 300)), 0x0b08b693efc7a031);
}

static void siphash_matches_the_seed_vectors(void **state) {
    const uint8_t in[32] = {24,   0,    0,    0,    0,    0,    0,    0,    0x21, 0x43, 0x6b,
                            0x4b, 0x34, 0xc4, 0x9f, 0x2b, 0x2c, 0xae, 0x87, 0x5d, 0x1d, 0x4f,
                            0xd7, 0xc6, 0x49, 0x0f, 0x52, 0xd1, 0x27, 0xfe, 0x34, 0xa1};

    assert_int_equal(siphash13(in, sizeof in), 7745888989860323081u);
}

static void sha256_matches_known_digests_over_any_split(void **state) {
    static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf};
    struct slice parts[2] = {SLICE_LIT("a"), SLICE_LIT("bc")};
    char million[1000];
    struct slice many[1000];
    uint8_t d[32];

    sha256(parts, 2, d);
    assert_memory_equal(d, abc, 4);
    memset(million, 'a', sizeof million);
    for (int i = 0; i < 1000; i++)
        many[i] = slice_of(million, 1000);
    sha256(many, 1000, d);
    assert_memory_equal(d, "\xcd\xc7\x6e\x5c\x99\x14\xfb\x92", 8);
}

static void crc32c_matches_the_check_value(void **state) {
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, "12345", 5), "6789", 4), 0xe3069283);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(partition_hash_matches_the_spec_table), cmocka_unit_test(siphash_matches_the_seed_vectors),
    cmocka_unit_test(sha256_matches_known_digests_over_any_split), cmocka_unit_test(crc32c_matches_the_check_value)};
const struct unit_group hash_test_group = UNIT_GROUP(tests);
