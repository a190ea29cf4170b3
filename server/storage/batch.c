/* SPDX-License-Identifier: Apache-2.0 */
/* storage/batch.c : the batches of SYNC stores: a list of operations in an arena, turned into the plugin's on the
 * writer. */
#include "base/limits.h"
#include "storage/store_internal.h"

struct store_batch *store_batch_new(void) {
    struct store_batch *b = xmalloc(sizeof *b);

    memset(b, 0, offsetof(struct store_batch, room));
    b->arena.at = b->room;
    b->arena.end = b->room + sizeof b->room;
    b->last = &b->first;
    return b;
}

void batch_release(struct store_batch *b) {
    for (const struct batch_op *op = b->first; op; op = op->next)
        for (int i = 0; i < op->n; i++)
            (void)bytes_unref(op->parts[i].owner);
    b->first = NULL;
    b->last = &b->first;
    arena_done(&b->arena);
}

struct store_batch *store_batch_free(struct store_batch *b) {
    if (b) {
        batch_release(b);
        free(b);
    }
    return NULL;
}

static struct batch_op *add_op(struct store_batch *b, struct store_table *t, int kind, struct slice key, int n) {
    struct batch_op *op;

    ASSERT(key.len <= LIMIT_KEY_BYTES);
    op = arena_alloc(&b->arena, sizeof *op + (size_t)n * sizeof op->parts[0]);
    *op = (struct batch_op){.table = t, .kind = kind, .n = n};
    op->key = arena_copy(&b->arena, key);
    *b->last = op;
    b->last = &op->next;
    b->bytes += key.len + 16;
    return op;
}

void store_batch_put(struct store_batch *b, struct store_table *t, struct slice key, struct slice value) {
    struct batch_op *op = add_op(b, t, BATCH_PUT, key, 1);

    op->parts[0] = (struct batch_part){.slice = arena_copy(&b->arena, value)};
    b->bytes += value.len;
}

void store_batch_put_bytes(struct store_batch *b, struct store_table *t, struct slice key, struct bytes *const *parts,
                           const struct slice *slices, int n) {
    struct batch_op *op;

    ASSERT(n >= 0 && n <= STORE_BATCH_PARTS);
    op = add_op(b, t, BATCH_PUT, key, n);
    for (int i = 0; i < n; i++) {
        if (parts[i])
            op->parts[i] = (struct batch_part){.slice = slices[i], .owner = bytes_ref(parts[i])};
        else
            op->parts[i] = (struct batch_part){.slice = arena_copy(&b->arena, slices[i])};
        b->bytes += slices[i].len;
    }
}

void store_batch_del(struct store_batch *b, struct store_table *t, struct slice key) {
    (void)add_op(b, t, BATCH_DEL, key, 0);
}

void store_batch_del_range(struct store_batch *b, struct store_table *t, struct slice lower, struct slice upper) {
    struct batch_op *op = add_op(b, t, BATCH_DEL_RANGE, lower, 0);

    if (upper.data)
        op->upper = arena_copy(&b->arena, upper);
    b->bytes += upper.len;
}

size_t store_batch_bytes(const struct store_batch *b) {
    return b->bytes;
}

int batch_to_rs(const struct store_batch *b, const rs_storage_ops *ops, rs_batch *to) {
    for (const struct batch_op *op = b->first; op; op = op->next) {
        struct iovec iov[STORE_BATCH_PARTS];
        int r;

        if (op->table->dropped)
            continue;
        switch (op->kind) {
        case BATCH_PUT:
            for (int i = 0; i < op->n; i++)
                iov[i] = (struct iovec){(void *)(uintptr_t)op->parts[i].slice.data, op->parts[i].slice.len};
            r = ops->batch_put(to, op->table->rs, rs_of(op->key), iov, op->n);
            break;
        case BATCH_DEL:
            r = ops->batch_del(to, op->table->rs, rs_of(op->key));
            break;
        default:
            r = ops->batch_del_range(to, op->table->rs, rs_of(op->key), rs_of(op->upper));
            break;
        }
        if (r < 0)
            return r;
    }
    return 0;
}
