/* SPDX-License-Identifier: Apache-2.0 */
/* metadata get | put | patch | list-keys: the values themselves, for when nothing else helps. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "control/metadata_proxy.h"
#include "ctl.h"
#include "json_patch.h"
#include "meta/json.h"

static int read_key(struct ctl *c, const char **ret, struct err *err) {
    const char *key = arg_value(&c->args, "key");

    if (!key && c->args.n)
        key = c->args.words[0];
    if (!key || !key[0] || strlen(key) >= META_KEY_MAX)
        return err_set(err, RS_EINVAL, "which key? --key KEY; `restatectl metadata list-keys` shows them");
    *ret = key;
    return 0;
}

/* Metadata of a node that joined nothing can be read as well: only the seeds are needed then. */
static int load(struct ctl *c, struct err *err) {
    int r = client_load(c, err);

    return r == RS_ENOENT ? 0 : r;
}

static int read_value(struct ctl *c, const char *key, uint32_t *ret_version, json_t **ret, struct err *err) {
    struct slice value = SLICE_NULL;
    json_error_t e;
    int r = metadata_read(c, key, ret_version, &value, err);

    *ret = NULL;
    if (r < 0 || *ret_version == 0)
        return r;
    *ret = json_loadb((const char *)value.data, value.len, JSON_DECODE_ANY, &e);
    return *ret ? 0 : err_set(err, RS_ECORRUPT, "%s: the value is no JSON: %s", key, e.text);
}

int run_metadata_get(struct ctl *c, struct err *err) {
    const char *key;
    uint32_t version;
    json_t *v;
    int r = read_key(c, &key, err);

    if (r == 0)
        r = load(c, err);
    if (r == 0)
        r = read_value(c, key, &version, &v, err);
    if (r < 0)
        return r;
    if (json_is_object(v))
        json_put(v, "version", json_u64(version));
    json_print(v ? v : json_null());
    return 0;
}

int run_metadata_keys(struct ctl *c, struct err *err) {
    struct ctl_request m = {0};
    struct ctl_response a;
    json_t *all = json_array();
    int r = load(c, err);

    if (r == 0)
        r = client_request(c, SERVICE_METADATA_PROXY, PROXY_KEYS, &m, &a, err);
    for (size_t i = 0; r == 0 && i < a.n_keys; i++) {
        (void)json_array_append_new(all, json_stringn((const char *)a.keys[i].data, a.keys[i].len));
        if (!c->json)
            (void)printf(SLICE_FMT "\n", SLICE_ARG(a.keys[i]));
    }
    if (r == 0 && c->json)
        json_print(json_incref(all));
    json_decref(all);
    return r;
}

/* ---- writing ---- */

static int load_document(const char *path, json_t **ret, struct err *err) {
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    json_error_t e;

    if (!f)
        return err_errno(err, "cannot read %s", path);
    *ret = json_loadf(f, 0, &e);
    if (f != stdin)
        (void)fclose(f);
    return *ret ? 0 : err_set(err, RS_EINVAL, "%s: line %d: %s", path, e.line, e.text);
}

/* Stores @v, or shows what would be stored. */
static int store(struct ctl *c, const char *key, uint32_t version, json_t *v, struct err *err) {
    _cleanup_buf_ struct buf out = {0};
    int r = 0;

    if (json_is_object(v))
        json_put(v, "version", json_u64((uint64_t)version + 1));
    if (json_is_object(v) || json_is_array(v))
        json_write(v, &out);
    else
        r = err_set(err, RS_EINVAL, "a metadata value is a JSON object");
    if (r == 0)
        r = metadata_value_check(key, buf_slice(&out), version + 1, err);
    if (r == 0 && !arg_given(&c->args, "dry-run"))
        r = metadata_write(c, key, version, buf_slice(&out), NULL, err);
    if (r == 0)
        json_print(json_incref(v));
    return r;
}

/* The version that --version wants is checked before anything is sent. */
static int check_version(struct ctl *c, const char *key, uint32_t version, struct err *err) {
    uint64_t wanted = version;
    int r = arg_u64(&c->args, "version-is", UINT32_MAX, NULL, &wanted, err);

    if (r == 0 && wanted != version)
        return err_set(err, RS_EEXIST, "%s has version %" PRIu32 ", not %" PRIu64, key, version, wanted);
    return r;
}

int run_metadata_put(struct ctl *c, struct err *err) {
    const char *key;
    uint32_t version;
    json_t *old = NULL, *v = NULL;
    int r = read_key(c, &key, err);

    if (r == 0 && c->args.n != 1u + (arg_value(&c->args, "key") == NULL))
        r = err_set(err, RS_EINVAL, "which file? A path, or - for stdin");
    if (r == 0)
        r = load_document(c->args.words[c->args.n - 1], &v, err);
    if (r == 0)
        r = load(c, err);
    if (r == 0)
        r = read_value(c, key, &version, &old, err);
    if (r == 0)
        r = check_version(c, key, version, err);
    if (r == 0)
        r = store(c, key, version, v, err);
    json_decref(old);
    json_decref(v);
    return r;
}

int run_metadata_patch(struct ctl *c, struct err *err) {
    const char *key, *text = arg_value(&c->args, "patch");
    uint32_t version;
    json_t *v = NULL, *patch = NULL;
    json_error_t e;
    int r = read_key(c, &key, err);

    if (r == 0 && !text)
        r = err_set(err, RS_EINVAL,
                    "what shall be changed? --patch '[{\"op\": \"replace\", \"path\": ..., \"value\": ...}]'");
    if (r == 0 && !(patch = json_loads(text, 0, &e)))
        r = err_set(err, RS_EINVAL, "--patch: %s", e.text);
    if (r == 0)
        r = load(c, err);
    if (r == 0)
        r = read_value(c, key, &version, &v, err);
    if (r == 0)
        r = check_version(c, key, version, err);
    if (r == 0 && !v)
        v = json_object();
    if (r == 0)
        r = json_patch(&v, patch, err);
    if (r == 0)
        r = store(c, key, version, v, err);
    json_decref(v);
    json_decref(patch);
    return r;
}

int run_metadata_migrate(struct ctl *c, struct err *err) {
    (void)c;
    return err_set(err, RS_EUNSUPPORTED, "migrate is not supported: metadata is always in the cluster's own servers");
}
