/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/export.h"
#include "base/hash.h"
#include "storage/store_test_util.h"

static int to_buf(void *arg, struct slice bytes, struct err *err) {
    buf_put_slice(arg, bytes);
    return 0;
}

struct text {
    struct buf b;
    int ends;
};
static int on_table(void *arg, struct slice name, struct err *err) {
    buf_putf(&((struct text *)arg)->b, "[" SLICE_FMT "] ", SLICE_ARG(name));
    return 0;
}
static int on_row(void *arg, struct slice key, struct slice value, struct err *err) {
    buf_putf(&((struct text *)arg)->b, SLICE_FMT "=" SLICE_FMT " ", SLICE_ARG(key), SLICE_ARG(value));
    return 0;
}
static int on_end(void *arg, struct slice attributes, const struct export_summary *sum, struct err *err) {
    struct text *t = arg;

    t->ends++;
    buf_putf(&t->b, "(" SLICE_FMT ") %u %u %u", SLICE_ARG(attributes), (unsigned)sum->tables, (unsigned)sum->rows,
             (unsigned)sum->bytes);
    return 0;
}
static const struct import_events text_events = {on_table, on_row, on_end};

static void write_small(struct buf *to) {
    struct export_writer *w = export_writer_new(to_buf, to);

    assert_int_equal(export_table(w, "p-1", NULL), 0);
    assert_int_equal(export_row(w, SLICE_LIT("key1"), SLICE_LIT("one"), NULL), 0);
    assert_int_equal(export_row(w, SLICE_LIT("key22"), SLICE_LIT(""), NULL), 0);
    assert_int_equal(export_table(w, "p-2", NULL), 0);
    assert_int_equal(export_table(w, "p-3", NULL), 0);
    assert_int_equal(export_row(w, SLICE_LIT("a"), SLICE_LIT("x"), NULL), 0);
    assert_int_equal(export_finish(w, SLICE_LIT("lsn=7"), NULL, NULL), 0);
    export_writer_free(w);
}
#define SMALL_TEXT "[p-1] key1=one key22= [p-2] [p-3] a=x (lsn=7) 3 3 14"

/* The bytes of format 1. They never change: a snapshot of today is read by every later version. */
static const char golden[] =
    "52535441424c4553010000001014a077030000009bf49ebe01702d311900000066d8d0a50200000400030000006b6579"
    "316f6e6503000200000000003232030000006f07cead01702d32030000006c84a55f01702d330a0000000688ad4f0200"
    "00010001000000617825000000a630ee2c03010000004024c7fe030000000000000003000000000000000e0000000000"
    "00006c736e3d37";

static void the_stream_of_format_1_is_as_it_was(void **state) {
    struct buf b = {0};
    char hex[1024] = "";

    write_small(&b);
    assert_true(b.len * 2 < sizeof hex);
    for (size_t i = 0; i < b.len; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", b.data[i]);
    assert_string_equal(hex, golden);
    buf_done(&b);
}

static int feed_in_pieces(struct slice s, size_t piece, struct text *t, struct err *err) {
    struct import_reader *r = import_reader_new(&text_events, t);
    int c = 0;

    while (s.len && c == 0) {
        size_t n = MIN(piece, s.len);

        c = import_feed(r, slice_sub(s, 0, n), err);
        s = slice_from(s, n);
    }
    import_reader_free(r);
    return c < 0 || s.len == 0 ? c : -100;
}

static void a_stream_reads_back_however_it_is_cut(void **state) {
    struct buf b = {0};

    write_small(&b);
    for (size_t piece = 1; piece <= b.len; piece++) {
        struct text t = {0};

        assert_int_equal(feed_in_pieces(buf_slice(&b), piece, &t, NULL), 1);
        assert_string_equal(buf_cstr(&t.b), SMALL_TEXT);
        assert_int_equal(t.ends, 1);
        buf_done(&t.b);
    }
    buf_done(&b);
}

static void any_damaged_byte_is_noticed(void **state) {
    struct buf b = {0};

    write_small(&b);
    for (size_t i = 0; i < b.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            struct text t = {0};
            struct err err = {0};
            int r;

            b.data[i] ^= (uint8_t)(1 << bit);
            r = feed_in_pieces(buf_slice(&b), 50, &t, &err);
            assert_true(r <= 0); /* refused, or (a longer length) waits for bytes that never come */
            assert_int_equal(t.ends, 0);
            b.data[i] ^= (uint8_t)(1 << bit);
            buf_done(&t.b);
        }
    buf_done(&b);
}

static void a_stream_that_is_cut_off_or_goes_on_is_not_complete(void **state) {
    struct buf b = {0};
    struct text t = {0};
    struct err err;

    write_small(&b);
    for (size_t n = 0; n < b.len; n++) {

        assert_int_equal(feed_in_pieces(slice_of(b.data, n), b.len, &t, &err), 0);
        assert_int_equal(t.ends, 0);
    }
    buf_put_u8(&b, 0);
    assert_int_equal(feed_in_pieces(buf_slice(&b), b.len, &t, &err), RS_ECORRUPT);
    buf_done(&t.b);
    buf_done(&b);
}

static void a_newer_format_is_not_guessed_at(void **state) {
    struct buf b = {0};
    struct err err;

    write_small(&b);
    put_u32le(b.data + 8, 2);
    put_u32le(b.data + 12, crc32c(0, b.data, 12));
    assert_int_equal(feed_in_pieces(buf_slice(&b), b.len, &(struct text){0}, &err), RS_EUNSUPPORTED);
    buf_done(&b);
}

static void keys_out_of_order_are_refused_by_the_writer(void **state) {
    struct export_writer *w = export_writer_new(NULL, NULL);
    struct err err;

    assert_int_equal(export_table(w, "", &err), RS_EINVAL);
    assert_int_equal(export_table(w, "t", &err), 0);
    assert_int_equal(export_row(w, SLICE_LIT("b"), SLICE_NULL, &err), 0);
    assert_int_equal(export_row(w, SLICE_LIT("b"), SLICE_NULL, &err), RS_ECORRUPT);
    assert_int_equal(export_row(w, SLICE_LIT("a"), SLICE_NULL, &err), RS_ECORRUPT);
    export_writer_free(w);
}

struct put_rows {
    struct rig *g;
    struct store_table *t;
};
static int into_table(void *arg, struct slice name, struct err *err) {
    struct put_rows *p = arg;

    return store_table_open(p->g->store, slice_eq_str(name, "t") ? "t" : "u", &p->t, err);
}
static int into_row(void *arg, struct slice key, struct slice value, struct err *err) {
    struct put_rows *p = arg;

    store_put(p->g->store, p->t, key, value);
    return 0;
}
static int into_end(void *arg, struct slice attributes, const struct export_summary *sum, struct err *err) {
    return 0;
}

static struct store_view *barrier_view(struct rig *g) {
    struct outcome o = {0};

    store_barrier(g->store, outcome_view, &o);
    rig_settle(g);
    assert_int_equal(o.status, 0);
    return o.view;
}

static void write_view(struct rig *g, struct buf *to, struct export_summary *sum) {
    struct export_writer *w = export_writer_new(to_buf, to);
    struct store_view *v = barrier_view(g);

    assert_int_equal(export_view_table(w, v, g->t, "t", NULL), 0);
    assert_int_equal(export_view_table(w, v, g->u, "u", NULL), 0);
    assert_int_equal(export_finish(w, SLICE_NULL, sum, NULL), 0);
    store_view_free(v);
    export_writer_free(w);
}

static void fill(struct rig *g) {
    uint8_t *big = xcalloc(1, 300000);

    for (uint32_t i = 0; i < 3000; i++) {
        uint8_t key[8];

        put_u32be(key, i * 2654435761u);
        put_u32be(key + 4, i);
        store_put(g->store, i % 3 ? g->t : g->u, slice_of(key, 8),
                  i % 1000 == 7 ? slice_of(big, 300000) : slice_of(key, i % 9));
    }
    free(big);
}

static void a_store_moves_through_the_stream(void **state) {
    struct rig *a = rig_new(RS_STORE_RELAXED, 1), *b = rig_new(RS_STORE_RELAXED, 2);
    static const struct import_events ev = {into_table, into_row, into_end};
    struct put_rows p = {b, NULL};
    struct import_reader *r = import_reader_new(&ev, &p);
    struct export_summary sa, sb;
    struct buf one = {0}, two = {0};
    int c = 0;

    rig_open(a);
    rig_open(b);
    fill(a);
    write_view(a, &one, &sa);
    assert_int_equal(sa.rows, 3000);
    for (size_t at = 0; at < one.len; at += 10007) {
        assert_int_equal(c, 0);
        c = import_feed(r, slice_sub(buf_slice(&one), at, 10007), NULL);
    }
    assert_int_equal(c, 1);
    write_view(b, &two, &sb);
    assert_true(slice_eq(buf_slice(&one), buf_slice(&two)));
    import_reader_free(r);
    buf_done(&one);
    buf_done(&two);
    rig_free(a);
    rig_free(b);
}

static void a_store_is_converted_to_another_engine(void **state) {
    static const char *const tables[] = {"t", "u"};
    struct rig *a = rig_new(RS_STORE_RELAXED, 1), *b = rig_new(RS_STORE_RELAXED, 2);
    struct convert_side from = {&sim_storage_ops, a->disk, a->params.dir},
                        to = {&sim_storage_ops, b->disk, b->params.dir};
    struct export_summary sum, sa, sb;
    struct buf x = {0};
    struct err err;

    rig_open(a);
    fill(a);
    write_view(a, &x, &sa);
    a->store = store_close(a->store);
    assert_int_equal(convert_store(&from, &to, RS_STORE_RELAXED, tables, 2, &sum, &err), 0);
    assert_int_equal(sum.crc, sa.crc);
    assert_int_equal(convert_store(&from, &to, RS_STORE_RELAXED, tables, 2, &sum, &err), RS_EEXIST);
    sim_disk_crash_at(b->disk, b->params.dir, 0);
    rig_open(b);
    write_view(b, &x, &sb);
    assert_int_equal(sb.crc, sa.crc);
    b->store = store_close(b->store);
    sim_disk_fault(a->disk, SIM_FAULT_READ_CORRUPT, NULL, 100, 1);
    to.dir = "/n1/other";
    assert_int_equal(convert_store(&from, &to, RS_STORE_RELAXED, tables, 2, &sum, &err), RS_ECORRUPT);
    buf_done(&x);
    rig_free(a);
    rig_free(b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_stream_of_format_1_is_as_it_was),
    cmocka_unit_test(a_stream_reads_back_however_it_is_cut),
    cmocka_unit_test(any_damaged_byte_is_noticed),
    cmocka_unit_test(a_stream_that_is_cut_off_or_goes_on_is_not_complete),
    cmocka_unit_test(a_newer_format_is_not_guessed_at),
    cmocka_unit_test(keys_out_of_order_are_refused_by_the_writer),
    cmocka_unit_test(a_store_moves_through_the_stream),
    cmocka_unit_test(a_store_is_converted_to_another_engine),
};
const struct unit_group export_test_group = UNIT_GROUP(tests);
