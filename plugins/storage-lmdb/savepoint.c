/* SPDX-License-Identifier: Apache-2.0 */
/* storage-lmdb: savepoints, by which a relaxed store writes without a sync and still obeys the crash contract.
 *
 * The environment of a relaxed store has MDB_NOSYNC: pages and meta page go to the page cache, and a power cut may keep
 * any part of them. sync() makes everything durable and then keeps a copy of the meta page in the file "savepoint";
 * from there on a read transaction of that state stays open, so that LMDB writes to none of its pages. Whatever a crash
 * leaves of the writes after it, the copy put back into both meta pages is that state again, whole. It is put back
 * after every crash, a killed process included: the host makes the rest again from its log.
 *
 * The file has two slots, 4096 bytes apart, written in turn; the newest valid one counts. Little-endian:
 *     0  "RSLMDBSP"
 *     8  u32 version 1
 *    12  u32 crc32c of the slot, computed with zeros here
 *    16  u64 number of the savepoint
 *    24  u64 transaction whose state it is
 *    32  u32 page size of the store
 *    36  u32 0
 *    40  the first 256 bytes of the meta page */
#include "lmdb_store.h"
#include <errno.h>
#include <fcntl.h>
#include <restate/helper/store_dir.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    SLOT_STEP = 4096,
    META_BYTES = 256,
    SLOT_BYTES = 40 + META_BYTES,
    META_MAGIC_AT = 16, /* of LMDB 0.9's meta page: u32 magic, u32 version, ... */
    META_TXN_AT = 144,  /* ... u64 transaction. Checked against mdb_env_info() before it is relied on. */
};
#define META_MAGIC 0xBEEFC0DEu
#define WINDOW_MIN (128ll << 10) /* bytes of the file whose pages are on their way to the disk at a time */
#define WINDOWS_MAX 4096

struct slot {
    char magic[8];
    uint32_t version, crc;
    uint64_t number, txn;
    uint32_t page_size, zero;
    uint8_t meta[META_BYTES];
};
_Static_assert(sizeof(struct slot) == SLOT_BYTES, "the layout above");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "LMDB files are of the machine's order, and so is this one");

static uint32_t crc32c(const void *data, size_t n) {
    const uint8_t *p = data;
    uint32_t crc = ~0u;

    while (n-- > 0) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = (crc >> 1) ^ (0x82f63b78u & -(crc & 1));
    }
    return ~crc;
}

static uint32_t slot_crc(const struct slot *slot) {
    struct slot s = *slot;

    s.crc = 0;
    return crc32c(&s, sizeof(s));
}

static bool slot_valid(const struct slot *s) {
    return memcmp(s->magic, "RSLMDBSP", sizeof(s->magic)) == 0 && s->version == 1 && slot_crc(s) == s->crc;
}

static int fail(rs_store *s, const char *what, rs_error *err) {
    int number = errno;
    char text[300];

    (void)snprintf(text, sizeof(text), "%s %.200s/savepoint", what, s->dir);
    return lm_error(number, text, 0, err);
}

/* Opens the file, made when absent, and reads the newest valid slot. Return: 1, 0 (there is none), or negative. */
static int read_newest(rs_store *s, struct slot *ret, rs_error *err) {
    char path[4096];
    struct slot slot;
    int r = rs_path_join(path, sizeof(path), s->dir, "savepoint", err), found = 0;

    if (r < 0)
        return r;
    s->savepoint_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->savepoint_fd < 0)
        return fail(s, "cannot open", err);
    for (int i = 0; i < 2; i++) {
        ssize_t n = pread(s->savepoint_fd, &slot, sizeof(slot), (off_t)i * SLOT_STEP);

        if (n < 0)
            return fail(s, "cannot read", err);
        if (n == (ssize_t)sizeof(slot) && slot_valid(&slot) && (!found || slot.number > ret->number)) {
            *ret = slot;
            found = 1;
        }
    }
    return found;
}

static uint32_t load32(const uint8_t *p) {
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}
static uint64_t load64(const uint8_t *p) {
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* Whether the meta pages say just what the savepoint says: its transaction, and nothing newer. Return: 1, 0, or
 * negative. */
static int is_newest(int fd, const struct slot *slot, rs_store *s, rs_error *err) {
    uint64_t newest = 0;

    for (int i = 0; i < 2; i++) {
        uint8_t meta[META_BYTES];
        ssize_t n = pread(fd, meta, sizeof(meta), (off_t)i * slot->page_size);

        if (n < 0)
            return fail(s, "cannot read the data beside", err);
        if (n == (ssize_t)sizeof(meta) && load32(meta + META_MAGIC_AT) == META_MAGIC &&
            load64(meta + META_TXN_AT) > newest)
            newest = load64(meta + META_TXN_AT);
    }
    if (newest < slot->txn)
        return rs_fail(err, RS_ECORRUPT, 0, 0,
                       "%s holds transaction %llu, which is older than its savepoint (transaction %llu)", s->dir,
                       (unsigned long long)newest, (unsigned long long)slot->txn);
    return newest == slot->txn;
}

/* A crash in here leaves the savepoint as it is, and the next open comes here again. */
static int put_back(int fd, const struct slot *slot, rs_store *s, rs_error *err) {
    uint8_t meta[META_BYTES];

    memcpy(meta, slot->meta, sizeof(meta));
    for (uint64_t i = 0; i < 2; i++) {
        memcpy(meta, &i, sizeof(i)); /* a page begins with its own number */
        if (pwrite(fd, meta, sizeof(meta), (off_t)i * slot->page_size) != (ssize_t)sizeof(meta))
            return fail(s, "cannot go back to", err);
    }
    return fdatasync(fd) < 0 ? fail(s, "cannot go back to", err) : 0;
}

int lm_savepoint_restore(rs_store *s, const char *data, rs_error *err) {
    struct slot slot = {0};
    int fd, r = read_newest(s, &slot, err);

    if (r <= 0)
        return r;
    s->savepoint_number = slot.number;
    fd = open(data, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fail(s, "cannot open the data beside", err);
    r = is_newest(fd, &slot, s, err);
    if (r == 0)
        r = put_back(fd, &slot, s, err);
    (void)close(fd); /* synced, or failed already */
    return r < 0 ? r : 0;
}

/* The state that the savepoint keeps: LMDB takes no page that an open read transaction can see. */
static int hold(rs_store *s) {
    if (s->held == NULL)
        return mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->held);
    mdb_txn_reset(s->held);
    return mdb_txn_renew(s->held);
}

int lm_savepoint_take(rs_store *s, rs_error *err) {
    struct slot slot = {.magic = "RSLMDBSP", .version = 1, .page_size = (uint32_t)s->page_size};
    MDB_envinfo info;
    mdb_filehandle_t fd;
    int rc = mdb_env_sync(s->env, 1);

    if (rc == 0)
        rc = mdb_env_info(s->env, &info);
    if (rc == 0)
        rc = mdb_env_get_fd(s->env, &fd);
    if (rc != 0)
        return lm_error(rc, "sync", 0, err);
    slot.number = s->savepoint_number + 1;
    slot.txn = info.me_last_txnid;
    if (pread(fd, slot.meta, META_BYTES, (off_t)(slot.txn & 1) * (off_t)s->page_size) != META_BYTES)
        return fail(s, "cannot read the data beside", err);
    if (load32(slot.meta + META_MAGIC_AT) != META_MAGIC || load64(slot.meta + META_TXN_AT) != slot.txn)
        return rs_fail(err, RS_EUNSUPPORTED, 0, 0, "this build of LMDB has another meta page");
    slot.crc = slot_crc(&slot);
    if (pwrite(s->savepoint_fd, &slot, sizeof(slot), (off_t)(slot.number & 1) * SLOT_STEP) != (ssize_t)sizeof(slot))
        return fail(s, "cannot write", err);
    if (fdatasync(s->savepoint_fd) < 0)
        return fail(s, "cannot sync", err);
    s->savepoint_number = slot.number;
    s->unsaved = false;
    rc = hold(s);
    return rc != 0 ? lm_error(rc, "view", 0, err) : 0;
}

int lm_savepoint_open(rs_store *s, rs_error *err) {
    int rc, r = lm_savepoint_take(s, err);

    if (r == 0)
        r = rs_dir_sync(s->dir, err);
    if (r == RS_EUNSUPPORTED) { /* relaxed writes are synced, then */
        lm_savepoint_close(s);
        return 0;
    }
    if (r == 0 && (rc = mdb_env_set_flags(s->env, MDB_NOSYNC, 1)) != 0)
        r = lm_error(rc, "cannot open store", 0, err);
    return r;
}

void lm_savepoint_close(rs_store *s) {
    if (s->held != NULL)
        mdb_txn_abort(s->held);
    s->held = NULL;
    if (s->savepoint_fd >= 0)
        (void)close(s->savepoint_fd); /* what counts was synced */
    s->savepoint_fd = -1;
}

int lm_savepoint_trickle(rs_store *s) {
    MDB_envinfo info;
    mdb_filehandle_t fd;
    off_t end, window;

    if (mdb_env_info(s->env, &info) != 0 || mdb_env_get_fd(s->env, &fd) != 0)
        return 0;
    end = ((off_t)info.me_last_pgno + 1) * (off_t)s->page_size;
    window = (end / WINDOWS_MAX + WINDOW_MIN) & ~(off_t)(WINDOW_MIN - 1);
    for (off_t at = 0; at < end; at += window) {
        if (sync_file_range(fd, at, window,
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) < 0)
            return errno == ENOSYS || errno == EINVAL || errno == ESPIPE ? 0 : errno;
    }
    return 0;
}
