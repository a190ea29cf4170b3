/* SPDX-License-Identifier: Apache-2.0 */
/* storage/export.h : the portable stream of tables: what one engine wrote, any other reads. Used for partition
 * snapshots and for moving a store to another engine. Sans I/O: bytes go to a sink and come from whoever has them.
 *
 * All integers little-endian.
 *   stream   = magic "RSTABLES", u32 format version (1), u32 CRC32C of these 12 bytes, block..., end block
 *   block    = u32 length of the payload, u32 CRC32C of type and payload, u8 type, payload
 *   type 1   = table: its name (1..255 bytes); the rows that follow are its
 *   type 2   = rows, in rising order over all blocks of a table: u16 shared, u16 own, u32 value length, own key bytes,
 * value; the key is the first `shared` bytes of the key before it in this block, then the own bytes type 3   = end (the
 * manifest): u32 format version, u32 CRC32C over the CRCs of all blocks before it in order, u64 tables, u64 rows, u64
 * bytes of keys and values, then attributes: whatever the writer wants to say, uninterpreted Nothing follows the end
 * block. A stream without it is not complete. */
#pragma once
#include <restate/storage.h>
#include "base/buf.h"
#include "base/err.h"
#include "storage/store.h"

enum { EXPORT_FORMAT = 1, EXPORT_BLOCK_BYTES = 64 << 10 }; /* a block is closed at this size; one row may be larger */

struct export_summary {
    uint64_t tables, rows, bytes;
    uint32_t crc;
};

/* ---- writing ---- */

/* Gets the stream piece by piece, in order. The bytes are valid during the call. Non-zero stops the export. */
typedef int (*export_sink_fn)(void *arg, struct slice bytes, struct err *err);
struct export_writer;
struct export_writer *export_writer_new(export_sink_fn sink, void *arg); /* sink NULL: only sums up */
struct export_writer *export_writer_free(struct export_writer *w);
int export_table(struct export_writer *w, const char *name, struct err *err) RS_WARN_UNUSED;
/* export_row() - keys of a table must rise. */
int export_row(struct export_writer *w, struct slice key, struct slice value, struct err *err) RS_WARN_UNUSED;
/* export_finish() - the end block; @attributes at most 64 KiB. */
int export_finish(struct export_writer *w, struct slice attributes, struct export_summary *ret,
                  struct err *err) RS_WARN_UNUSED;
/* export_view_table() - export_table() and all rows of a table in a view. Blocking: on a pool. */
int export_view_table(struct export_writer *w, struct store_view *v, struct store_table *t, const char *name,
                      struct err *err) RS_WARN_UNUSED;

/* ---- reading ---- */

struct import_events { /* non-zero stops and is returned; slices are valid during the call */
    int (*table)(void *arg, struct slice name, struct err *err);
    int (*row)(void *arg, struct slice key, struct slice value, struct err *err);
    int (*end)(void *arg, struct slice attributes, const struct export_summary *sum,
               struct err *err); /* all was as announced */
};
struct import_reader;
struct import_reader *import_reader_new(const struct import_events *ev, void *arg);
struct import_reader *import_reader_free(struct import_reader *r);
/* import_feed() - the next bytes of the stream, cut anywhere. 0: more is needed; 1: complete. RS_ECORRUPT: damaged or
 * not a stream; RS_EUNSUPPORTED: a newer format. Rows already reported must then be thrown away by the caller. */
int import_feed(struct import_reader *r, struct slice bytes, struct err *err) RS_WARN_UNUSED;

/* ---- moving a store ---- */

struct convert_side {
    const rs_storage_ops *ops;
    void *self;
    const char *dir;
};
/* convert_store() - copy @tables of one store into another, offline and blocking; syncs, then reads the copy back and
 * compares. The source is not changed. RS_EEXIST: the target already has rows. @ret may be NULL. */
int convert_store(const struct convert_side *from, const struct convert_side *to, uint32_t durability,
                  const char *const *tables, size_t n_tables, struct export_summary *ret,
                  struct err *err) RS_WARN_UNUSED;
