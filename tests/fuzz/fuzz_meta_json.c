/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata values from a store or a peer: no input crashes a parser, and what was accepted encodes to something that
 * parses to the same bytes again. First byte: which kind. */
#include "meta/epoch_metadata.h"
#include "meta/logs_config.h"
#include "meta/nodes_config.h"
#include "meta/partition_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(struct buf *a, struct buf *b) {
    ASSERT(slice_eq(buf_slice(a), buf_slice(b)));
    buf_done(a);
    buf_done(b);
}

#define ROUND_TRIP(type, text)                                                                                         \
    do {                                                                                                               \
        struct type *v, *w;                                                                                            \
        struct buf once = {0}, twice = {0};                                                                            \
        if (type##_parse((text), &v, NULL) < 0)                                                                        \
            break;                                                                                                     \
        type##_encode(v, &once);                                                                                       \
        ASSERT(type##_parse(buf_slice(&once), &w, NULL) == 0);                                                         \
        type##_encode(w, &twice);                                                                                      \
        same(&once, &twice);                                                                                           \
        (void)type##_free(v);                                                                                          \
        (void)type##_free(w);                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice text = slice_from(slice_of(data, size), 1);
    struct epoch_metadata e;
    struct replication r;
    struct err err;
    int ok;

    if (size == 0)
        return 0;
    switch (data[0] % 5) {
    case 0:
        ROUND_TRIP(nodes_config, text);
        break;
    case 1:
        ROUND_TRIP(logs_config, text);
        break;
    case 2:
        ROUND_TRIP(partition_table, text);
        break;
    case 3:
        ok = epoch_metadata_parse(text, &e, &err);
        ASSERT(ok <= 0);
        break;
    default:
        ok = replication_parse(text, &r, &err);
        ASSERT(ok <= 0 && (ok < 0 || r.copies[SCOPE_NODE] >= 1));
    }
    return 0;
}
