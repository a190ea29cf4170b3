/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/repository.h"
#include "unit.h"

#include <stdio.h>
#include <unistd.h>

struct group {
    char dir[64], url[96];
    struct repository *r;
    bool stop;
};

static struct repository *open_at(struct group *g, uint64_t fingerprint, unsigned retained) {
    struct repository_params p = {.store = {.url = g->url, .stop = &g->stop},
                                  .cluster_name = "c",
                                  .node_name = "n",
                                  .fingerprint = fingerprint,
                                  .retained = retained};
    struct repository *r;
    struct err err = {0};

    if (repository_open(&p, &r, &err) < 0)
        fail_msg("%s", err.msg);
    return r;
}

static int setup(void **state) {
    struct group *g = xnew(struct group);

    (void)snprintf(g->dir, sizeof g->dir, "/tmp/repository_test-XXXXXX");
    assert_non_null(mkdtemp(g->dir));
    (void)snprintf(g->url, sizeof g->url, "file://%s/below/snapshots", g->dir);
    g->r = open_at(g, 7, 2);
    *state = g;
    return 0;
}

static int teardown(void **state) {
    struct group *g = *state;
    char command[128];

    (void)snprintf(command, sizeof command, "rm -rf %s", g->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test */
    (void)repository_free(g->r);
    free(g);
    return 0;
}

static int put(struct repository *r, lsn_t lsn, const char *id, const char *bytes, lsn_t *archived, struct err *err) {
    struct snapshot_info i = {.partition = 3, .log_id = 3, .last_key = UINT64_MAX, .lsn = lsn, .size = strlen(bytes)};
    int fd, rc;

    (void)snprintf(i.id, sizeof i.id, "%s", id);
    assert_int_equal(nameless_file("/tmp", &fd, err), 0);
    assert_int_equal(write_all(fd, slice_str(bytes), err), 0);
    rc = repository_put(r, &i, fd, archived, err);
    (void)close(fd);
    return rc;
}

static void what_was_put_is_the_latest(void **state) {
    struct group *g = *state;
    struct snapshot_info i;
    struct err err = {0};
    char text[16] = "";
    lsn_t archived = 0;
    int fd;

    assert_int_equal(repository_latest(g->r, 3, &i, &archived, &err), RS_ENOENT);
    assert_int_equal(put(g->r, 10, "snap_a", "hello", &archived, &err), 0);
    assert_int_equal(archived, 10);
    assert_int_equal(repository_latest(g->r, 3, &i, &archived, &err), 0);
    assert_int_equal(i.lsn, 10);
    assert_string_equal(i.id, "snap_a");
    assert_true(i.last_key == UINT64_MAX);
    assert_int_equal(repository_open_tables(g->r, &i, "/tmp", &fd, &err), 0);
    assert_int_equal(read(fd, text, sizeof text), 5);
    assert_string_equal(text, "hello");
    (void)close(fd);
    assert_int_equal(repository_latest(g->r, 4, &i, &archived, &err), RS_ENOENT);
}

static void an_older_one_does_not_replace_a_newer_one(void **state) {
    struct group *g = *state;
    struct snapshot_info i;
    struct err err = {0};
    lsn_t archived = 0;

    assert_int_equal(put(g->r, 20, "snap_b", "b", &archived, &err), 0);
    assert_int_equal(put(g->r, 19, "snap_a", "a", &archived, &err), RS_EEXIST);
    assert_int_equal(repository_latest(g->r, 3, &i, &archived, &err), 0);
    assert_int_equal(i.lsn, 20);
}

static void as_many_are_kept_as_configured(void **state) {
    struct group *g = *state;
    struct snapshot_info first, i;
    struct err err = {0};
    lsn_t archived = 0;
    int fd;

    assert_int_equal(put(g->r, 10, "snap_a", "a", &archived, &err), 0);
    assert_int_equal(repository_latest(g->r, 3, &first, &archived, &err), 0);
    assert_int_equal(put(g->r, 20, "snap_b", "b", &archived, &err), 0);
    assert_int_equal(archived, 10);
    assert_int_equal(put(g->r, 30, "snap_c", "c", &archived, &err), 0);
    assert_int_equal(archived, 20);
    assert_int_equal(repository_latest(g->r, 3, &i, &archived, &err), 0);
    assert_int_equal(i.lsn, 30);
    assert_int_equal(archived, 20);
    assert_int_equal(repository_open_tables(g->r, &first, "/tmp", &fd, &err), RS_ENOENT);
}

static void snapshots_of_another_cluster_are_refused(void **state) {
    struct group *g = *state;
    struct repository *other = open_at(g, 8, 1);
    struct snapshot_info i;
    struct err err = {0};
    lsn_t archived = 0;

    assert_int_equal(put(g->r, 10, "snap_a", "a", &archived, &err), 0);
    assert_int_equal(repository_latest(other, 3, &i, &archived, &err), RS_EPERM);
    assert_int_equal(put(other, 99, "snap_x", "x", &archived, &err), RS_EPERM);
    (void)repository_free(other);
}

static void a_condition_that_does_not_hold_writes_nothing(void **state) {
    struct group *g = *state;
    struct object_store_params p = {.url = g->url};
    struct object_version v = {""}, now;
    struct object_store *s;
    struct buf b = {0};
    struct err err = {0};

    assert_int_equal(object_store_open(&p, &s, &err), 0);
    assert_int_equal(object_put(s, "d/x", SLICE_LIT("1"), &v, &err), 0);
    assert_int_equal(object_put(s, "d/x", SLICE_LIT("2"), &v, &err), RS_EEXIST);
    assert_int_equal(object_get(s, "d/x", 100, &b, &now, &err), 0);
    assert_true(slice_eq_str(buf_slice(&b), "1"));
    assert_int_equal(object_put(s, "d/x", SLICE_LIT("3"), &now, &err), 0);
    assert_int_equal(object_put(s, "d/x", SLICE_LIT("4"), &now, &err), RS_EEXIST);
    assert_int_equal(object_get(s, "d/x", 0, &b, &now, &err), RS_ETOOBIG);
    assert_int_equal(object_delete(s, "d/x", &err), 0);
    assert_int_equal(object_delete(s, "d/x", &err), 0);
    buf_done(&b);
    (void)object_store_free(s);
}

static void wrong_destinations_are_named(void **state) {
    static const struct {
        struct object_store_params p;
        int code;
        const char *says;
    } cases[] = {
        {{.url = "gs://b/p"}, RS_EUNSUPPORTED, "file:///dir or to s3://"},
        {{.url = "file://relative"}, RS_EINVAL, "absolute"},
        {{.url = "s3:///p", .access_key = "a", .secret_key = "s", .region = "r"}, RS_EINVAL, "s3://bucket/prefix"},
        {{.url = "s3://b/p", .access_key = "a", .secret_key = "s", .endpoint = "http://x"}, RS_EINVAL, "allow-http"},
        {{.url = "s3://b/p?q", .access_key = "a", .secret_key = "s", .region = "r"}, RS_EINVAL, "prefix"},
        {{.url = "s3://b/p", .access_key = "a", .secret_key = "s", .region = "r"}, 0, ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = {0};

        assert_int_equal(object_store_check(&cases[i].p, &err), cases[i].code);
        assert_non_null(strstr(err.msg, cases[i].says));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(what_was_put_is_the_latest, setup, teardown),
    cmocka_unit_test_setup_teardown(an_older_one_does_not_replace_a_newer_one, setup, teardown),
    cmocka_unit_test_setup_teardown(as_many_are_kept_as_configured, setup, teardown),
    cmocka_unit_test_setup_teardown(snapshots_of_another_cluster_are_refused, setup, teardown),
    cmocka_unit_test_setup_teardown(a_condition_that_does_not_hold_writes_nothing, setup, teardown),
    cmocka_unit_test(wrong_destinations_are_named),
};
const struct unit_group repository_test_group = UNIT_GROUP(tests);
