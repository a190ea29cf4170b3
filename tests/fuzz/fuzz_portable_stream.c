/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes are refused or read; what was read in full gives the same rows when it is written and read again. The first
 * byte says where the input is cut; checksums are put right when it is odd, so that the parts behind them are reached.
 */
#include "base/hash.h"
#include "base/util.h"
#include "storage/export.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_table(void *arg, struct slice name, struct err *err) {
    char text[256];

    memcpy(text, name.data, name.len);
    text[name.len] = 0;
    return export_table(arg, text, err);
}
static int on_row(void *arg, struct slice key, struct slice value, struct err *err) {
    return export_row(arg, key, value, err);
}
static int on_end(void *arg, struct slice attributes, const struct export_summary *sum, struct err *err) {
    struct export_summary own;

    ASSERT(export_finish(arg, attributes, &own, err) == 0);
    ASSERT(own.rows == sum->rows && own.bytes == sum->bytes && own.tables == sum->tables);
    return 0;
}

static void mend(uint8_t *p, size_t n) {
    if (n < 16)
        return;
    put_u32le(p + 12, crc32c(0, p, 12));
    for (size_t at = 16; at + 9 <= n;) {
        size_t len = get_u32le(p + at);

        if (len > n - at - 9)
            break;
        put_u32le(p + at + 4, crc32c(0, p + at + 8, len + 1));
        at += 9 + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct import_events ev = {on_table, on_row, on_end};
    struct export_writer *w = export_writer_new(NULL, NULL);
    struct import_reader *r = import_reader_new(&ev, w);
    struct err err = {0};
    uint8_t *copy;
    size_t cut;

    if (size) {
        copy = xmalloc(size);
        memcpy(copy, data + 1, size - 1);
        if (data[0] & 1)
            mend(copy, size - 1);
        cut = MIN((size_t)data[0], size - 1);
        if (import_feed(r, slice_of(copy, cut), &err) == 0 &&
            import_feed(r, slice_of(copy + cut, size - 1 - cut), &err) < 0)
            ASSERT(err.msg[0]);
        free(copy);
    }
    import_reader_free(r);
    export_writer_free(w);
    return 0;
}
