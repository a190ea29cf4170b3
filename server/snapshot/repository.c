/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/repository.h"
#include "meta/json.h"

#include <inttypes.h>
#include <stdio.h>

enum { FORMAT = 1, JSON_MAX = 1 << 20, ROUNDS = 8, KEY_BYTES = 160 };

struct repository {
    struct object_store *store;
    char *cluster_name, *node_name;
    uint64_t fingerprint;
    unsigned retained;
};

int repository_open(const struct repository_params *p, struct repository **ret, struct err *err) {
    struct object_store *store;
    struct repository *r;
    int rc = object_store_open(&p->store, &store, err);

    if (rc < 0)
        return rc;
    r = xnew(struct repository);
    r->store = store;
    r->cluster_name = xstrdup(p->cluster_name);
    r->node_name = xstrdup(p->node_name);
    r->fingerprint = p->fingerprint;
    r->retained = MAX(p->retained, 1u);
    *ret = r;
    return 0;
}

struct repository *repository_free(struct repository *r) {
    if (!r)
        return NULL;
    (void)object_store_free(r->store);
    free(r->cluster_name);
    free(r->node_name);
    free(r);
    return NULL;
}

/* ---- names ---- */

static void latest_key(uint32_t partition, char ret[KEY_BYTES]) {
    (void)snprintf(ret, KEY_BYTES, "%" PRIu32 "/latest.json", partition);
}

static void part_key(uint32_t partition, lsn_t lsn, const char *id, const char *part, char ret[KEY_BYTES]) {
    (void)snprintf(ret, KEY_BYTES, "%" PRIu32 "/lsn_%020" PRIu64 "-%s/%s", partition, lsn, id, part);
}

static bool id_is_sound(const char *id) {
    size_t n = strlen(id);

    return n > 5 && n < SNAPSHOT_ID && strncmp(id, "snap_", 5) == 0 &&
           strspn(id + 5, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == n - 5;
}

/* ---- latest.json ---- */

struct kept {
    char id[SNAPSHOT_ID];
    lsn_t lsn;
};
struct latest {
    struct snapshot_info newest;
    struct kept *kept; /* oldest first, the newest included */
    size_t n;
};

static json_t *describe(const struct repository *r, const struct snapshot_info *i) {
    json_t *o = json_object();

    json_put(o, "version", json_integer(FORMAT));
    json_put(o, "cluster_name", json_text(r->cluster_name));
    json_put(o, "cluster_fingerprint", json_u64_str(r->fingerprint));
    json_put(o, "node_name", json_text(r->node_name));
    json_put(o, "partition_id", json_u64(i->partition));
    json_put(o, "log_id", json_u64(i->log_id));
    json_put(o, "first_key", json_u64_str(i->first_key));
    json_put(o, "last_key", json_u64_str(i->last_key));
    json_put(o, "snapshot_id", json_text(i->id));
    json_put(o, "min_applied_lsn", json_u64(i->lsn));
    json_put(o, "created_at", json_u64(i->created_ms));
    json_put(o, "size", json_u64(i->size));
    json_put(o, "crc32c", json_u64(i->crc));
    return o;
}

static int read_id(const json_t *o, char ret[SNAPSHOT_ID], struct err *err) {
    char *id = NULL;
    int rc = json_field_str(o, "snapshot_id", true, &id, err);

    if (rc == 0 && !id_is_sound(id))
        rc = err_set(err, RS_ECORRUPT, "snapshot_id: '%.60s' is none", id);
    if (rc == 0)
        (void)snprintf(ret, SNAPSHOT_ID, "%s", id);
    free(id);
    return rc;
}

static int read_description(const struct repository *r, uint32_t partition, const json_t *o, struct snapshot_info *ret,
                            struct err *err) {
    uint32_t format = 0;
    uint64_t fingerprint = 0;
    int rc = json_field_u32(o, "version", true, &format, err);

    if (rc == 0 && format != FORMAT)
        return err_set(err, RS_EUNSUPPORTED, "version %" PRIu32 " is not known", format);
    rc = rc < 0 ? rc : json_field_u64(o, "cluster_fingerprint", true, &fingerprint, err);
    if (rc == 0 && fingerprint != r->fingerprint)
        return err_set(err, RS_EPERM, "these are snapshots of another cluster");
    rc = rc < 0 ? rc : read_id(o, ret->id, err);
    rc = rc < 0 ? rc : json_field_u32(o, "partition_id", true, &ret->partition, err);
    rc = rc < 0 ? rc : json_field_u32(o, "log_id", true, &ret->log_id, err);
    rc = rc < 0 ? rc : json_field_u64(o, "first_key", true, &ret->first_key, err);
    rc = rc < 0 ? rc : json_field_u64(o, "last_key", true, &ret->last_key, err);
    rc = rc < 0 ? rc : json_field_u64(o, "min_applied_lsn", true, &ret->lsn, err);
    rc = rc < 0 ? rc : json_field_u64(o, "created_at", true, &ret->created_ms, err);
    rc = rc < 0 ? rc : json_field_u64(o, "size", true, &ret->size, err);
    rc = rc < 0 ? rc : json_field_u32(o, "crc32c", true, &ret->crc, err);
    if (rc == 0 && ret->partition != partition)
        rc = err_set(err, RS_ECORRUPT, "it is of partition %" PRIu32, ret->partition);
    return rc;
}

static int read_kept(const json_t *o, struct latest *l, struct err *err) {
    json_t *list = NULL;
    int rc = json_field_arr(o, "retained", true, &list, err);

    if (rc < 0)
        return rc;
    l->kept = xnewn(struct kept, json_array_size(list) + 1);
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        const json_t *k = json_array_get(list, i);

        rc = read_id(k, l->kept[l->n].id, err);
        rc = rc < 0 ? rc : json_field_u64(k, "min_applied_lsn", true, &l->kept[l->n].lsn, err);
        l->n++;
    }
    if (rc == 0 && l->n == 0)
        rc = err_set(err, RS_ECORRUPT, "retained: it is empty");
    return rc;
}

/* RS_ENOENT: there is none; @ret_version is right also then. The caller frees ret->kept in any case. */
static int read_latest(struct repository *r, uint32_t partition, struct latest *ret, struct object_version *ret_version,
                       struct err *err) {
    char key[KEY_BYTES];
    _cleanup_buf_ struct buf text = {0};
    _cleanup_json_ json_t *o = NULL;
    int rc;

    *ret = (struct latest){.n = 0};
    *ret_version = (struct object_version){""};
    latest_key(partition, key);
    rc = object_get(r->store, key, JSON_MAX, &text, ret_version, err);
    if (rc < 0)
        return rc;
    rc = json_parse(buf_slice(&text), "latest.json", &o, err);
    rc = rc < 0 ? rc : read_description(r, partition, o, &ret->newest, err);
    rc = rc < 0 ? rc : read_kept(o, ret, err);
    return rc < 0 ? err_wrap(err, rc, "%s", key) : 0;
}

int repository_latest(struct repository *r, uint32_t partition, struct snapshot_info *ret, lsn_t *ret_archived,
                      struct err *err) {
    struct object_version version;
    struct latest l;
    int rc = read_latest(r, partition, &l, &version, err);

    if (rc == 0) {
        *ret = l.newest;
        *ret_archived = l.kept[0].lsn;
    }
    free(l.kept);
    return rc;
}

int repository_open_tables(struct repository *r, const struct snapshot_info *info, const char *tmp_dir, int *ret_fd,
                           struct err *err) {
    char key[KEY_BYTES];

    part_key(info->partition, info->lsn, info->id, "tables", key);
    return object_open(r->store, key, tmp_dir, ret_fd, err);
}

/* ---- writing ---- */

static void remove_snapshot(struct repository *r, uint32_t partition, const struct kept *k) {
    char key[KEY_BYTES];

    /* best effort: what stays behind only takes room */
    part_key(partition, k->lsn, k->id, "tables", key);
    (void)!object_delete(r->store, key, NULL);
    part_key(partition, k->lsn, k->id, "metadata.json", key);
    (void)!object_delete(r->store, key, NULL);
}

/* One try to make @info the newest. 0, RS_EEXIST: a newer one is there, RS_EAGAIN: somebody else was faster. */
static int publish(struct repository *r, const struct snapshot_info *info, lsn_t *ret_archived, struct err *err) {
    struct object_version version;
    struct latest l;
    char key[KEY_BYTES];
    _cleanup_buf_ struct buf text = {0};
    _cleanup_json_ json_t *o = describe(r, info);
    json_t *list = json_array();
    size_t gone;
    int rc = read_latest(r, info->partition, &l, &version, err);

    json_put(o, "retained", list);
    if (rc == RS_ENOENT)
        rc = 0;
    if (rc == 0 && l.n && l.newest.lsn > info->lsn)
        rc = err_set(err, RS_EEXIST, "there is a newer snapshot, of LSN %" PRIu64, l.newest.lsn);
    if (rc < 0) {
        free(l.kept);
        return rc;
    }
    gone = l.n + 1 > r->retained ? l.n + 1 - r->retained : 0;
    for (size_t i = gone; i < l.n; i++)
        (void)json_array_append_new(
            list, json_pack("{s:s, s:o}", "snapshot_id", l.kept[i].id, "min_applied_lsn", json_u64(l.kept[i].lsn)));
    (void)json_array_append_new(
        list, json_pack("{s:s, s:o}", "snapshot_id", info->id, "min_applied_lsn", json_u64(info->lsn)));
    json_write(o, &text);
    latest_key(info->partition, key);
    rc = object_put(r->store, key, buf_slice(&text), &version, err);
    if (rc == RS_EEXIST)
        rc = RS_EAGAIN;
    if (rc == 0)
        *ret_archived = gone < l.n ? l.kept[gone].lsn : info->lsn;
    for (size_t i = 0; rc == 0 && i < gone; i++)
        if (strcmp(l.kept[i].id, info->id) != 0)
            remove_snapshot(r, info->partition, &l.kept[i]);
    free(l.kept);
    return rc;
}

/* Whether latest.json names it, after an answer that was lost. */
static bool is_newest(struct repository *r, const struct snapshot_info *info, lsn_t *ret_archived) {
    struct snapshot_info newest;

    return repository_latest(r, info->partition, &newest, ret_archived, NULL) == 0 && strcmp(newest.id, info->id) == 0;
}

int repository_put(struct repository *r, const struct snapshot_info *info, int fd, lsn_t *ret_archived,
                   struct err *err) {
    char key[KEY_BYTES];
    _cleanup_buf_ struct buf text = {0};
    _cleanup_json_ json_t *o = describe(r, info);
    struct kept self = {.lsn = info->lsn};
    int rc;

    (void)snprintf(self.id, sizeof self.id, "%s", info->id);
    part_key(info->partition, info->lsn, info->id, "tables", key);
    rc = object_put_file(r->store, key, fd, info->size, err);
    if (rc == 0) {
        json_write(o, &text);
        part_key(info->partition, info->lsn, info->id, "metadata.json", key);
        rc = object_put(r->store, key, buf_slice(&text), NULL, err);
    }
    for (int i = 0; rc == 0 && i < ROUNDS; i++) {
        rc = publish(r, info, ret_archived, err);
        if (rc != RS_EAGAIN || is_newest(r, info, ret_archived))
            return rc == RS_EAGAIN ? 0 : rc == RS_EEXIST ? (remove_snapshot(r, info->partition, &self), rc) : rc;
        rc = 0;
    }
    return rc < 0 ? rc : err_set(err, RS_EAGAIN, "others write snapshots of this partition all the time");
}
