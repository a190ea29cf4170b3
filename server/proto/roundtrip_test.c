/* SPDX-License-Identifier: Apache-2.0 */
/* Random messages of every type, written by a second, simpler encoder from the descriptions of the messages: decoding
 * and encoding gives the same bytes. */
#include "unit.h"

#include "base/util.h"
#include "proto/command.gen.h"
#include "proto/service.gen.h"

static const uint64_t edges[] = {1,         127,       128, 16383, 16384, UINT32_MAX, (uint64_t)UINT32_MAX + 1,
                                 INT64_MAX, UINT64_MAX};
static const char *const texts[] = {
    "",
    "a",
    "k\xc3\xa9y",
    "\xe2\x82\xac uro",
    "\xf0\x9f\x98\x80",
    "a text of more than a hundred and twenty-seven bytes, so that its length takes two bytes to write; "
    "that is the whole point of this one"};

static uint32_t roll(uint64_t *seed, uint32_t n) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*seed >> 33) % n);
}

static void put_varint(struct buf *out, uint64_t v) {
    for (; v >= 0x80; v >>= 7)
        buf_put_u8(out, (uint8_t)(v | 0x80));
    buf_put_u8(out, (uint8_t)v);
}

static uint64_t random_number(uint64_t *seed, uint8_t kind) {
    uint64_t v = edges[roll(seed, ARRAY_SIZE(edges))];

    return kind == PB_BOOL ? 1 : kind == PB_U32 ? (uint32_t)v : v;
}

static void random_message(uint64_t *seed, const struct pb_message *m, unsigned depth, struct buf *out);

static void random_one(uint64_t *seed, const struct pb_field *f, unsigned depth, struct buf *out) {
    _cleanup_buf_ struct buf sub = {0};

    if (f->kind >= PB_U32 && f->kind <= PB_BOOL) {
        uint64_t v = random_number(seed, f->kind);

        put_varint(out, f->number << 3 | PB_VARINT);
        put_varint(out, v ? v : 1); /* without presence a zero would not be written */
        return;
    }
    if (f->kind == PB_MSG)
        random_message(seed, f->message, depth + 1, &sub);
    else
        buf_put_str(&sub, texts[roll(seed, ARRAY_SIZE(texts))]);
    if (f->kind == PB_BYTES && sub.len)
        sub.data[0] = 0xff; /* anything goes */
    put_varint(out, f->number << 3 | PB_LEN);
    put_varint(out, sub.len);
    buf_put_slice(out, buf_slice(&sub));
}

static void random_packed(uint64_t *seed, const struct pb_field *f, size_t n, struct buf *out) {
    _cleanup_buf_ struct buf sub = {0};

    while (n-- > 0)
        put_varint(&sub, roll(seed, 3) ? random_number(seed, f->kind) : 0);
    put_varint(out, f->number << 3 | PB_LEN);
    put_varint(out, sub.len);
    buf_put_slice(out, buf_slice(&sub));
}

static const struct pb_field *next_field(const struct pb_message *m, uint32_t above) {
    const struct pb_field *best = NULL;

    for (size_t i = 0; i < m->n; i++)
        if (m->fields[i].number > above && (!best || m->fields[i].number < best->number))
            best = &m->fields[i];
    return best;
}

static void random_message(uint64_t *seed, const struct pb_message *m, unsigned depth, struct buf *out) {
    for (const struct pb_field *f = next_field(m, 0); f; f = next_field(m, f->number)) {
        size_t n = roll(seed, 3);

        if (n == 0 || (f->kind == PB_MSG && depth > 4))
            continue;
        if (f->label != PB_REP)
            random_one(seed, f, depth, out);
        else if (f->kind >= PB_U32 && f->kind <= PB_BOOL)
            random_packed(seed, f, n * 3, out);
        else
            for (; n > 0; n--)
                random_one(seed, f, depth, out);
    }
    if (roll(seed, 4) == 0) { /* fields of a newer version */
        put_varint(out, 1000 << 3 | PB_FIXED32);
        buf_put_u32le(out, 7);
        put_varint(out, 500000000u << 3 | PB_LEN);
        put_varint(out, 2);
        buf_put_str(out, "xy");
    }
}

/* Decodes @in as each of decode's attempts and encodes what came out. Return: the code of the decoder. */
typedef int recode_fn(struct slice in, struct buf *out);

#define RECODE(prefix_, name_)                                                                                         \
    static int recode_##prefix_##_##name_(struct slice in, struct buf *out) {                                          \
        _cleanup_arena_ struct arena a = {0};                                                                          \
        struct prefix_##_##name_ m;                                                                                    \
        int r = prefix_##_##name_##_decode(&m, in, &a, NULL);                                                          \
                                                                                                                       \
        if (r == 0)                                                                                                    \
            prefix_##_##name_##_encode(&m, out);                                                                       \
        return r;                                                                                                      \
    }
#define RECODE_SP(name_) RECODE(sp, name_)
#define RECODE_CMD(name_) RECODE(cmd, name_)
SP_EACH_MESSAGE(RECODE_SP)
CMD_EACH_MESSAGE(RECODE_CMD)

static const struct {
    const struct pb_message *info;
    recode_fn *recode;
} types[] = {
#define ROW_SP(name_) {&sp_##name_##_info, recode_sp_##name_},
#define ROW_CMD(name_) {&cmd_##name_##_info, recode_cmd_##name_},
    SP_EACH_MESSAGE(ROW_SP) CMD_EACH_MESSAGE(ROW_CMD)};

static void random_messages_of_every_type_survive_byte_for_byte(void **state) {
    size_t bytes = 0;

    (void)state;
    for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
        for (uint64_t i = 0; i < 50; i++) {
            _cleanup_buf_ struct buf in = {0}, out = {0};
            uint64_t seed = t << 32 | i;

            random_message(&seed, types[t].info, 0, &in);
            assert_int_equal(types[t].recode(buf_slice(&in), &out), 0);
            if (!slice_eq(buf_slice(&in), buf_slice(&out)))
                fail_msg("%s differs with seed %llu", types[t].info->name, (unsigned long long)i);
            bytes += in.len;
        }
    }
    assert_true(bytes > 100000);
}

/* A damaged message is refused, or it is one that is stable from then on. */
static void damaged_messages_do_no_harm(void **state) {
    size_t refused = 0, accepted = 0;

    (void)state;
    for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
        for (uint64_t i = 0; i < 50; i++) {
            _cleanup_buf_ struct buf in = {0}, out = {0}, again = {0};
            uint64_t seed = t << 32 | i;
            uint8_t *own;

            random_message(&seed, types[t].info, 0, &in);
            if (!in.len)
                continue;
            in.data[roll(&seed, (uint32_t)in.len)] ^= (uint8_t)(1u << roll(&seed, 8));
            in.len -= roll(&seed, 2) ? 0 : roll(&seed, (uint32_t)in.len);
            own = xmalloc(in.len ? in.len : 1); /* of its own size: a sanitizer sees reads past it */
            memcpy(own, in.data, in.len);
            if (types[t].recode(slice_of(own, in.len), &out) == 0) {
                accepted++;
                assert_int_equal(types[t].recode(buf_slice(&out), &again), 0);
                assert_true(slice_eq(buf_slice(&out), buf_slice(&again)));
            } else {
                refused++;
                assert_int_equal(out.len, 0);
            }
            free(own);
        }
    }
    assert_true(refused > 100 && accepted > 100);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_messages_of_every_type_survive_byte_for_byte),
    cmocka_unit_test(damaged_messages_do_no_harm),
};
const struct unit_group roundtrip_test_group = UNIT_GROUP(tests);
