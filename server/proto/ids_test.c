/* SPDX-License-Identifier: Apache-2.0 */
/* tests/data/vectors/ids.tsv holds ids that a reference server made; one tab-separated row each, "-" for nothing:
 *   target TYPE SERVICE KEY HANDLER IDEMPOTENCY-KEY ID PARTITION-KEY UUID BUCKET
 *   seed ID-BYTES SEED     awakeable TEXT INVOCATION-ID INDEX     hash INPUT HASH     deployment TEXT ULID */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/util.h"
#include "proto/command.h"
#include "proto/ids.h"

enum { COLUMNS = 10, LINE_BYTES = 4096 };

static struct slice optional(const char *s) {
    return strcmp(s, "-") ? slice_str(s) : SLICE_NULL;
}

static void unhex(const char *s, uint8_t *ret, size_t n) {
    assert_int_equal(strlen(s), 2 * n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(sscanf(s + 2 * i, "%2hhx", &ret[i]), 1);
}

static unsigned for_each_row(const char *kind, void (*check)(char *col[COLUMNS])) {
    FILE *f = fopen(TEST_DATA_DIR "/vectors/ids.tsv", "r");
    char line[LINE_BYTES];
    unsigned n = 0;

    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char *col[COLUMNS] = {0}, *at = line, *word;

        line[strcspn(line, "\n")] = 0;
        for (size_t i = 0; i < COLUMNS && (word = strsep(&at, "\t")); i++)
            col[i] = word;
        if (strcmp(col[0], kind))
            continue;
        check(col);
        n++;
    }
    (void)fclose(f);
    return n;
}

static void check_target(char *col[COLUMNS]) {
    struct id_target t = {
        .type = (uint32_t)atoi(col[1]),
        .service = slice_str(col[2]),
        .key = optional(col[3]),
        .handler = slice_str(col[4]),
        .idem_key = optional(col[5]),
    };
    static const uint8_t random[ID_RANDOM_BYTES] = {1, 2, 3};
    uint64_t pk = strtoull(col[7], NULL, 16);
    unsigned bucket = (unsigned)atoi(col[9]);
    struct invocation_id id, parsed;
    char text[INVOCATION_ID_CHARS + 1];
    uint8_t uuid[16];

    unhex(col[8], uuid, 16);
    assert_int_equal(invocation_id_parse(slice_str(col[6]), &parsed, NULL), 0);
    assert_true(invocation_id_pk(&parsed) == pk);
    assert_memory_equal(parsed.raw + 8, uuid, 16);
    invocation_id_format(&parsed, text);
    assert_string_equal(text, col[6]);
    assert_true(id_partition_key(&t, bucket) == pk);
    if (invocation_id_derive(&t, 1, random, &id))
        assert_true(invocation_id_eq(&id, &parsed));
    else
        assert_true(t.type == TARGET_SERVICE && !t.idem_key.data);
}

static void ids_of_calls_are_those_of_the_reference(void **state) {
    (void)state;
    assert_int_equal(for_each_row("target", check_target), 29);
}

static void check_seed(char *col[COLUMNS]) {
    struct invocation_id id;

    unhex(col[1], id.raw, sizeof id.raw);
    assert_true(invocation_id_seed(&id) == strtoull(col[2], NULL, 10));
}

static void random_seeds_are_those_of_the_reference(void **state) {
    (void)state;
    assert_int_equal(for_each_row("seed", check_seed), 16);
}

static void check_awakeable(char *col[COLUMNS]) {
    struct awakeable_id id;
    char text[AWAKEABLE_ID_CHARS + 1];

    assert_int_equal(awakeable_id_parse(slice_str(col[1]), &id, NULL), 0);
    assert_false(id.legacy);
    assert_int_equal(id.index, atoi(col[3]));
    invocation_id_format(&id.invocation, text);
    assert_string_equal(text, col[2]);
    awakeable_id_format(&id, text);
    assert_string_equal(text, col[1]);
}

static void check_awakeable_raw(char *col[COLUMNS]) {
    struct awakeable_id id;
    uint8_t raw[28];

    unhex(col[2], raw, sizeof raw);
    assert_int_equal(awakeable_id_parse(slice_str(col[1]), &id, NULL), 0);
    assert_memory_equal(id.invocation.raw, raw, 24);
    assert_int_equal(id.index, get_u32be(raw + 24));
}

static void awakeable_ids_are_read_and_written(void **state) {
    (void)state;
    assert_int_equal(for_each_row("awakeable", check_awakeable), 7);
    assert_int_equal(for_each_row("awakeable-raw", check_awakeable_raw), 1);
}

static void awakeable_ids_may_be_padded_or_legacy_but_not_broken(void **state) {
    static const struct {
        const char *text, *error; /* NULL: accepted */
    } rows[] = {
        {"sign_1jGgGZoCqxMmbn3-k_1zVzF-r02grDdwCAAAAEQ==", NULL},
        {"prom_1jGgGZoCqxMmbn3-k_1zVzF-r02grDdwCAAAAEQ", NULL},
        {"sign_1jGgGZoCqxMmbn3-k_1zVzF-r02grDdwCAAAAE", "bad length"},
        {"sign_1jGgGZoCqxMmbn3-k_1zVzF-r02grDdwCAAAAEQ=", "bad length"},
        {"sign_1jGgGZoCqxMmbn3+k_1zVzF-r02grDdwCAAAAEQ", "bad format"},
        {"sign_1jGgGZoCqxMmbn3-k_1zVzF-r02grDdwCAAAAER", "bad format"}, /* bits past the end */
        {"sign_1AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEQ", "bad format"}, /* no uuid */
        {"inv_11UlL7aT9MLB0zV2aoQvEfZOk28JgxSOOL", "id doesn't match the expected type"},
        {"sign_2jGgGZoCqxMmbn3-k_1zVzF-r02grDdwCAAAAEQ", "unrecognized codec version"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct awakeable_id id;
        struct err err = {0};
        int r = awakeable_id_parse(slice_str(rows[i].text), &id, &err);

        assert_int_equal(r, rows[i].error ? RS_EINVAL : 0);
        assert_string_equal(err.msg, rows[i].error ? rows[i].error : "");
        if (!r)
            assert_int_equal(id.legacy, rows[i].text[0] == 'p');
    }
}

static void check_hash(char *col[COLUMNS]) {
    assert_true(hash_partition_key(optional(col[1])) == strtoull(col[2], NULL, 16));
}

static void keys_hash_as_in_the_reference(void **state) {
    (void)state;
    assert_int_equal(for_each_row("hash", check_hash), 11);
}

static void check_deployment(char *col[COLUMNS]) {
    uint8_t ulid[ULID_BYTES], want[ULID_BYTES];
    char text[RESOURCE_ID_MAX_CHARS + 1];

    unhex(col[2], want, sizeof want);
    assert_int_equal(resource_id_parse(ID_DEPLOYMENT, slice_str(col[1]), ulid, NULL), 0);
    assert_memory_equal(ulid, want, sizeof want);
    resource_id_format(ID_DEPLOYMENT, ulid, text);
    assert_string_equal(text, col[1]);
}

static void deployment_ids_are_read_and_written(void **state) {
    (void)state;
    assert_int_equal(for_each_row("deployment", check_deployment), 5);
}

static void malformed_invocation_ids_are_refused_with_the_reason(void **state) {
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"", "bad length"},
        {"nonsense", "bad format"},
        {"foo_11UlL7aT9MLB0zV2aoQvEfZOk28JgxSOOL", "unrecognized resource type: foo"},
        {"_11UlL7aT9MLB0zV2aoQvEfZOk28JgxSOOL", "unrecognized resource type: "},
        {"inv_", "bad length"},
        {"inv_1", "bad length"},
        {"inv_21UlL7aT9MLB0zV2aoQvEfZOk28JgxSOOL", "unrecognized codec version"},
        {"inv_11UlL7aT9MLB0zV2aoQvEfZOk28JgxSOO", "bad length"},
        {"inv_11UlL7aT9MLB0zV2aoQvEfZOk28JgxSOOLx", "bad length"},
        {"inv_11UlL7aT9ML-0zV2aoQvEfZOk28JgxSOOL", "base62 decode error"},
        {"inv_1ZZZZZZZZZZZ0zV2aoQvEfZOk28JgxSOOL", "base62 decode error"}, /* above 2^64 */
        {"inv_11UlL7aT9MLBZZZZZZZZZZZZZZZZZZZZZZ", "base62 decode error"}, /* above 2^128 */
        {"inv_11UlL7aT9MLB0000000000000000000000", "bad format"},
        {"dp_10T6os4urqdOSZWbTLwMm3f", "id doesn't match the expected type"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct invocation_id id;
        struct err err = {0};

        assert_int_equal(invocation_id_parse(slice_str(rows[i].text), &id, &err), RS_EINVAL);
        assert_string_equal(err.msg, rows[i].error);
    }
}

static void extreme_numbers_survive_the_text_form(void **state) {
    (void)state;
    for (unsigned bit = 0; bit <= 192; bit++) {
        struct invocation_id id, back;
        char text[INVOCATION_ID_CHARS + 1];

        memset(id.raw, bit == 192 ? 0xff : 0, sizeof id.raw);
        if (bit < 192)
            id.raw[bit / 8] = (uint8_t)(1u << bit % 8);
        id.raw[23] |= 1;
        invocation_id_format(&id, text);
        assert_int_equal(strlen(text), INVOCATION_ID_CHARS);
        assert_int_equal(invocation_id_parse(slice_str(text), &back, NULL), 0);
        assert_true(invocation_id_eq(&id, &back));
    }
}

static void the_target_decides_what_the_id_depends_on(void **state) {
    static const uint8_t r1[ID_RANDOM_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x34, 0x13},
                         r2[ID_RANDOM_BYTES] = {9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0x35, 0x12};
    struct id_target t = {.type = TARGET_SERVICE, .service = slice_str("S"), .handler = slice_str("h")};
    struct invocation_id a, b;

    (void)state;
    /* no key at all: a ULID and a random bucket */
    assert_false(invocation_id_derive(&t, 0x010203040506, r1, &a));
    assert_memory_equal(a.raw + 8, "\1\2\3\4\5\6\1\2\3\4\5\6\7\x8\x9\xa", 16);
    assert_true(invocation_id_pk(&a) == id_partition_key(&t, 0x134));
    /* a scope moves the partition key and enters the hash */
    t.idem_key = slice_str("i");
    assert_true(invocation_id_derive(&t, 1, r1, &a));
    t.scope = slice_str("sc");
    assert_true(invocation_id_derive(&t, 1, r1, &b));
    assert_true(invocation_id_pk(&b) == hash_partition_key(slice_str("sc")));
    assert_memory_not_equal(a.raw + 8, b.raw + 8, 16);
    /* a workflow run ignores handler and idempotency key, a shared handler of it does not */
    t = (struct id_target){.type = TARGET_WORKFLOW_RUN, .service = slice_str("W"), .key = slice_str("k")};
    assert_true(invocation_id_derive(&t, 1, r1, &a));
    t.handler = slice_str("other"), t.idem_key = slice_str("i");
    assert_true(invocation_id_derive(&t, 2, r2, &b));
    assert_true(invocation_id_eq(&a, &b));
    t.type = TARGET_WORKFLOW_SHARED;
    assert_true(invocation_id_derive(&t, 2, r2, &b));
    assert_false(invocation_id_eq(&a, &b));
    /* an object call without idempotency key: the partition of the key, a fresh uuid */
    t = (struct id_target){.type = TARGET_OBJECT_EXCLUSIVE, .service = slice_str("O"), .key = slice_str("k")};
    assert_false(invocation_id_derive(&t, 1, r1, &a));
    assert_false(invocation_id_derive(&t, 1, r2, &b));
    assert_true(invocation_id_pk(&a) == invocation_id_pk(&b));
    assert_false(invocation_id_eq(&a, &b));
}

static void long_service_names_hash_like_short_ones(void **state) {
    uint8_t name[300], all[300 + 18 + 8];
    struct id_target t = {.type = TARGET_SERVICE};

    (void)state;
    memset(name, 'n', sizeof name);
    for (size_t len = 200; len <= sizeof name; len += 10) {
        memcpy(all, name, len);
        memcpy(all + len,
               "\xff"
               "unscoped/service\xff",
               18);
        put_u64le(all + len + 18, 77);
        t.service = slice_of(name, len);
        assert_true(id_partition_key(&t, 77) == hash64(slice_of(all, len + 26)));
    }
}

static void partitions_cover_the_key_space_without_gap(void **state) {
    static const unsigned counts[] = {1, 2, 3, 7, 24, 100, 1024, 65535};

    (void)state;
    for (size_t c = 0; c < ARRAY_SIZE(counts); c++) {
        const unsigned n = counts[c];
        uint64_t next = 0;

        for (unsigned i = 0; i < n; i++) {
            struct key_range r = partition_range(i, n);

            assert_true(r.first == next);
            assert_true(r.last >= r.first);
            assert_int_equal(partition_of_key(r.first, n), i);
            assert_int_equal(partition_of_key(r.last, n), i);
            next = r.last + 1;
        }
        assert_true(next == 0); /* past 2^64 - 1 */
    }
    assert_true(partition_range(1, 24).first == 768614336404564651u); /* ceil(2^64 / 24) */
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ids_of_calls_are_those_of_the_reference),
    cmocka_unit_test(random_seeds_are_those_of_the_reference),
    cmocka_unit_test(awakeable_ids_are_read_and_written),
    cmocka_unit_test(awakeable_ids_may_be_padded_or_legacy_but_not_broken),
    cmocka_unit_test(keys_hash_as_in_the_reference),
    cmocka_unit_test(deployment_ids_are_read_and_written),
    cmocka_unit_test(malformed_invocation_ids_are_refused_with_the_reason),
    cmocka_unit_test(extreme_numbers_survive_the_text_form),
    cmocka_unit_test(the_target_decides_what_the_id_depends_on),
    cmocka_unit_test(long_service_names_hash_like_short_ones),
    cmocka_unit_test(partitions_cover_the_key_space_without_gap),
};
const struct unit_group ids_test_group = UNIT_GROUP(tests);
