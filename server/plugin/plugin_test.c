/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "config/config.h"
#include "plugin/plugin_internal.h"
#include "plugin/setup.h"
#include "plugin/test_modules/test_storage.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

const rs_plugin *restate_plugin_v1(uint32_t host_major,
                                   uint32_t host_minor); /* not used: every descriptor here is linked in */

struct fixture {
    struct loop *loop;
    struct host *host;
    struct plugin_registry *reg;
};

static void setup(struct fixture *f, const char *dir) {
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    f->host = host_new(&(struct host_params){.loop = f->loop});
    f->reg = plugin_registry_new(f->host, dir);
}

static void stop_loop(void *arg) {
    loop_stop(arg);
}

static void teardown(struct fixture *f) {
    plugin_registry_stop(f->reg, f->loop, stop_loop, f->loop);
    loop_run(f->loop);
    (void)plugin_registry_free(f->reg);
    (void)loop_free(f->loop);
    (void)host_free(f->host);
}

static struct cfg_tree *yaml(const char *text) {
    struct cfg_tree *t = NULL;

    assert_int_equal(cfg_parse(slice_str(text), "t", &t, NULL), 0);
    return t;
}

/* ---- negotiation ---- */

struct damaged {
    rs_plugin plugin;
    rs_storage_ops ops;
};
static void wrong_magic(struct damaged *d) {
    d->plugin.magic = 7;
}
static void short_descriptor(struct damaged *d) {
    d->plugin.struct_size -= 8;
}
static void other_major(struct damaged *d) {
    d->plugin.abi_major = 2;
}
static void other_kind(struct damaged *d) {
    d->plugin.kind = RS_KIND_TRANSPORT;
}
static void unknown_feature(struct damaged *d) {
    d->plugin.host_features = 4;
}
static void no_license(struct damaged *d) {
    d->plugin.license = NULL;
}
static void no_ops(struct damaged *d) {
    d->plugin.ops = NULL;
}
static void other_name(struct damaged *d) {
    d->plugin.name = "bad name";
}
static void short_ops(struct damaged *d) {
    d->ops.struct_size = 64;
}
static void no_sync(struct damaged *d) {
    d->ops.sync = NULL;
}
static void cap_without_op(struct damaged *d) {
    d->plugin.caps = RS_STORAGE_COMPACT;
}
static void newer_minor(struct damaged *d) {
    d->plugin.abi_minor = 9;
    d->plugin.struct_size += 64;
}
static void nothing(struct damaged *d) {}

static void a_descriptor_we_cannot_use_is_refused_with_one_sentence(void **state) {
    static const struct {
        void (*damage)(struct damaged *);
        const char *message; /* NULL: accepted */
    } rows[] = {{nothing, NULL},
                {newer_minor, NULL},
                {wrong_magic, "/p/x.so: this is not a plugin of this server (magic 0x00000007, expected 0x50545352)"},
                {short_descriptor, "/p/x.so: its descriptor has "},
                {other_major, "/p/x.so: it is built for ABI 2.0, this server has 1.0"},
                {other_kind, "/p/x.so: it is a transport plugin (kind 2), a storage plugin was asked for"},
                {unknown_feature, "/p/x.so: it needs host features 0x4 that this server does not have"},
                {no_license, "/p/x.so: the required member license is NULL"},
                {no_ops, "/p/x.so: the required member ops is NULL"},
                {other_name, "/p/x.so: it calls itself \"bad name\", not \"x\""},
                {short_ops, "/p/x.so: its table of operations has 64 bytes, ABI 1.0 has "},
                {no_sync, "/p/x.so: the required member sync is NULL"},
                {cap_without_op, "/p/x.so: it claims capability 0x4 but its compact is NULL"}};
    struct {
        struct damaged d;
        uint8_t more[64]; /* what a newer plugin has behind our members */
    } memory;
    struct err err = {0};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct plugin p = {0};
        int r;

        memory.d = (struct damaged){.plugin = TS_PLUGIN("x", &memory.d.ops), .ops = TS_OPS};
        rows[i].damage(&memory.d);
        r = plugin_accept(&memory.d.plugin, RS_KIND_STORAGE, "x", "/p/x.so", 0, &p, &err);
        if (rows[i].message == NULL ? r != 0
                                    : r == 0 || strncmp(err.msg, rows[i].message, strlen(rows[i].message)) != 0)
            fail_msg("row %zu: %d %s", i, r, err.msg);
    }
    assert_int_equal(plugin_accept(NULL, RS_KIND_STORAGE, "x", "/p/x.so", 0, &(struct plugin){0}, &err),
                     RS_EUNSUPPORTED);
}

static void what_lies_behind_a_short_table_is_never_read(void **state) {
    struct damaged d = {.plugin = TS_PLUGIN("x", &d.ops), .ops = TS_OPS};
    struct plugin p;

    memset(&p, 0xff, sizeof p);
    assert_int_equal(plugin_accept(&d.plugin, RS_KIND_STORAGE, "x", "x", 0, &p, NULL), 0);
    assert_null(p.ops.storage.multi_get);
    assert_ptr_equal(p.ops.storage.sync, ts_sync);
    assert_int_equal(p.info.caps, 0);
}

/* ---- files ---- */

static void a_plugin_file_is_loaded_used_and_described(void **state) {
    struct plugin_instance *i = NULL, *again = NULL, *other = NULL;
    _cleanup_(cfg_tree_freep) struct cfg_tree *o = yaml("memory-budget: 5MiB");
    struct err err = {0};
    struct fixture f;

    setup(&f, PLUGIN_TEST_DIR);
    assert_true(plugin_exists(f.reg, RS_KIND_STORAGE, "good"));
    assert_false(plugin_exists(f.reg, RS_KIND_STORAGE, "absent"));
    if (plugin_use(f.reg, RS_KIND_STORAGE, "good", NULL, 1000, &i, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(plugin_use(f.reg, RS_KIND_STORAGE, "good", NULL, 1000, &again, &err), 0);
    assert_int_equal(plugin_use(f.reg, RS_KIND_STORAGE, "good", cfg_root(o), 1000, &other, &err), 0);
    assert_ptr_equal(i, again);
    assert_ptr_not_equal(i, other);
    assert_null(i->self);
    assert_int_equal(plugin_registry_init(f.reg, &err), 0);
    assert_non_null(i->self);
    assert_non_null(i->storage);
    assert_null(i->transport);
    assert_string_equal(i->info->version, "1.2.3");
    assert_int_equal(strlen(i->info->sha256), 64);
    assert_string_equal(i->info->path, PLUGIN_TEST_DIR "/storage-good.so");
    teardown(&f);
}

static void files_that_are_no_plugins_are_refused(void **state) {
    static const struct {
        const char *name, *message;
    } rows[] = {{"absent", PLUGIN_TEST_DIR "/storage-absent.so: cannot load the plugin: No such file"},
                {"foreign", "storage-foreign.so: it does not export restate_plugin_v1"},
                {"unresolved", "a_function_nobody_has"},
                {"refusing", "storage-refusing.so: its entry refused ABI 1.0"},
                {"../good", "\"../good\" is not the name of a plugin"},
                {"Good", "\"Good\" is not the name of a plugin"},
                {"", "\"\" is not the name of a plugin"}};
    struct plugin_instance *i = NULL;
    struct fixture f;

    setup(&f, PLUGIN_TEST_DIR);
    for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
        struct err err = {0};

        assert_true(plugin_use(f.reg, RS_KIND_STORAGE, rows[k].name, NULL, 0, &i, &err) < 0);
        if (!strstr(err.msg, rows[k].message))
            fail_msg("%s: %s", rows[k].name, err.msg);
    }
    teardown(&f);
}

static void copy_file(const char *from, const char *to) {
    FILE *in = fopen(from, "re"), *out = fopen(to, "we");
    char block[4096];
    size_t n;

    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(block, 1, sizeof block, in)) > 0)
        assert_int_equal(fwrite(block, 1, n, out), n);
    (void)fclose(in);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(to, 0755), 0);
}

static void file_gives(const char *dir, const char *file, const char *message) {
    struct err err = {0};
    int r = plugin_file_check(dir, file, &err);

    if (message ? r == 0 || !strstr(err.msg, message) : r != 0)
        fail_msg("%s: %d %s", file, r, err.msg);
}

static void planted_files_and_directories_are_refused(void **state) {
    char top[] = "/tmp/restate-plugins-XXXXXX", dir[80], file[120], outside[120], link_in[120], link_out[120];

    assert_non_null(mkdtemp(top));
    (void)snprintf(dir, sizeof dir, "%s/d", top);
    (void)snprintf(file, sizeof file, "%s/storage-good.so", dir);
    (void)snprintf(outside, sizeof outside, "%s/storage-good.so", top);
    (void)snprintf(link_in, sizeof link_in, "%s/storage-alias.so", dir);
    (void)snprintf(link_out, sizeof link_out, "%s/storage-evil.so", dir);
    assert_int_equal(mkdir(dir, 0755), 0);
    copy_file(PLUGIN_TEST_DIR "/storage-good.so", file);
    copy_file(file, outside);
    assert_int_equal(symlink(file, link_in), 0);
    assert_int_equal(symlink(outside, link_out), 0);

    file_gives(dir, file, NULL);
    file_gives(dir, link_in, NULL);
    file_gives(dir, link_out, "it is a link to a file outside of the plugin directory");
    file_gives(dir, dir, "outside of the plugin directory");
    file_gives("relative/dir", file, "must be an absolute path");
    file_gives("/does/not/exist", file, "there is no such plugin directory");
    assert_int_equal(chmod(file, 0775), 0);
    file_gives(dir, file, "its group or others may write to it");
    assert_int_equal(chmod(file, 0755), 0);
    assert_int_equal(chmod(dir, 0777), 0);
    file_gives(dir, file, "its group or others may write to it");
    assert_int_equal(chmod(dir, 01777), 0);
    file_gives(dir, file, "its group or others may write to it");
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(chmod(top, 0777), 0);
    file_gives(dir, file, "its group or others may write to it");
    assert_int_equal(chmod(top, 0700), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(file, 12345, 0), 0);
        file_gives(dir, file, "it belongs to user 12345");
    }
    (void)unlink(link_out);
    (void)unlink(link_in);
    (void)unlink(outside);
    (void)unlink(file);
    (void)rmdir(dir);
    (void)rmdir(top);
}

/* ---- instances ---- */

static char order[64]; /* of calls, written by the counting plugin */
static void mark(char c) {
    size_t n = strlen(order);

    if (n + 1 < sizeof order) {
        order[n] = c;
        order[n + 1] = 0;
    }
}
struct counted {
    char name;
};
static int counted_check(const rs_host *h, const rs_node *config, rs_error *e) {
    mark('c');
    return 0;
}
static int counted_init(const rs_host *h, const rs_node *config, void **ret_self, rs_error *e) {
    struct counted *c = xnew(struct counted);
    const char *name;

    assert_int_equal(h->node_str(h->node_get(config, "id"), &name, e), 0);
    c->name = name[0];
    mark('i');
    mark(c->name);
    *ret_self = c;
    return 0;
}
static void counted_stop(void *self, rs_done_fn stopped, void *arg) {
    mark('s');
    mark(((struct counted *)self)->name);
    stopped(arg, 0, NULL);
    stopped(arg, 0, NULL); /* twice: only the first counts */
}
static void counted_fini(void *self) {
    mark('f');
    mark(((struct counted *)self)->name);
    free(self);
}

static void instances_stop_and_end_in_reverse_order(void **state) {
    _cleanup_(cfg_tree_freep) struct cfg_tree *a = yaml("id: A"), *b = yaml("id: B");
    struct damaged d = {.plugin = TS_PLUGIN("counted", &d.ops), .ops = TS_OPS};
    struct plugin_instance *first = NULL, *second = NULL;
    struct fixture f;

    d.plugin.config_schema = "{\"properties\":{\"id\":{\"type\":\"string\"}}}";
    d.plugin.check = counted_check;
    d.plugin.init = counted_init;
    d.plugin.stop = counted_stop;
    d.plugin.fini = counted_fini;
    order[0] = 0;
    setup(&f, NULL);
    assert_int_equal(plugin_register(f.reg, &d.plugin, NULL), 0);
    assert_int_equal(plugin_register(f.reg, &d.plugin, NULL), RS_EEXIST);
    assert_int_equal(plugin_use(f.reg, RS_KIND_STORAGE, "counted", cfg_root(a), 0, &first, NULL), 0);
    assert_int_equal(plugin_use(f.reg, RS_KIND_STORAGE, "counted", cfg_root(b), 0, &second, NULL), 0);
    assert_int_equal(plugin_registry_init(f.reg, NULL), 0);
    teardown(&f);
    assert_string_equal(order, "cciAiBsBsAfBfA");
}

static void refusals_of_options_name_their_place(void **state) {
    static const struct {
        const char *yaml, *message;
    } rows[] = {
        {"storage: {options: {fail-chek: x}}",
         "t:1: storage.options.fail-chek: this plugin has no such option; did you mean fail-check?"},
        {"storage: {options: {fail-check: because}}", "storage plugin x refuses its options: because"},
        {"storage: {options: {memory-budget: -1}}", "t:1: storage.options.memory-budget: \"-1\": a size is expected"}};
    struct damaged d = {.plugin = TS_PLUGIN("x", &d.ops), .ops = TS_OPS};
    _cleanup_(cfg_tree_freep) struct cfg_tree *failing = yaml("fail-init: true");
    struct plugin_instance *i = NULL;
    struct err err = {0};
    struct fixture f;

    setup(&f, NULL);
    assert_int_equal(plugin_register(f.reg, &d.plugin, NULL), 0);
    for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
        _cleanup_(cfg_tree_freep) struct cfg_tree *t = yaml(rows[k].yaml);

        assert_true(plugin_use(f.reg, RS_KIND_STORAGE, "x", cfg_find(cfg_root(t), "storage.options"), 0, &i, &err) < 0);
        if (strncmp(err.msg, rows[k].message, strlen(rows[k].message)) != 0)
            fail_msg("row %zu: %s", k, err.msg);
    }
    assert_int_equal(plugin_use(f.reg, RS_KIND_STORAGE, "y", NULL, 0, &i, &err), RS_ENOENT);
    assert_int_equal(plugin_use(f.reg, RS_KIND_STORAGE, "x", cfg_root(failing), 0, &i, &err), 0);
    assert_int_equal(plugin_registry_init(f.reg, &err), RS_EIO);
    assert_string_equal(err.msg, "storage plugin x cannot start: init was told to fail");
    teardown(&f);
}

/* ---- the real ones ---- */

static void a_configuration_gives_stores_and_transports(void **state) {
    static char *const env[] = {(char *)(uintptr_t) "RESTATE_STORAGE__META=lmdb",
                                (char *)(uintptr_t) "RESTATE_PLUGINS__DIR=" PLUGIN_BUILD_DIR, NULL};
    char *argv[] = {(char *)(uintptr_t) "restate-server", NULL};
    struct config_inputs in = {.argc = 1, .argv = argv, .envp = env, .hostname = "box"};
    struct config_run run;
    struct config *c = NULL;
    struct plugin_set set;
    struct err err = {0};
    struct fixture f;

    if (access(PLUGIN_BUILD_DIR "/storage-lmdb.so", R_OK) < 0 ||
        access(PLUGIN_BUILD_DIR "/storage-rocksdb.so", R_OK) < 0 ||
        access(PLUGIN_BUILD_DIR "/transport-tcp.so", R_OK) < 0)
        skip(); /* built without one of them */
    assert_int_equal(config_load(&in, &run, &c, &err), 0);
    setup(&f, c->plugins_dir);
    if (plugin_set_use(f.reg, c, &set, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(set.store[STORE_META]->info->name, "lmdb");
    assert_string_equal(set.store[STORE_LOG]->info->name, "rocksdb");
    assert_ptr_equal(set.store[STORE_LOG], set.store[STORE_DATA]);
    assert_ptr_equal(transports_find(set.fabric, "tcp"), transports_find(set.admin, "unix"));
    assert_null(transports_find(set.ingress, "tls"));
    if (plugin_exists(f.reg, RS_KIND_TRANSPORT, "tls"))
        assert_non_null(transports_find(set.invoker, "tls"));
    plugin_set_done(&set);
    teardown(&f);
    (void)config_free(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_descriptor_we_cannot_use_is_refused_with_one_sentence),
    cmocka_unit_test(what_lies_behind_a_short_table_is_never_read),
    cmocka_unit_test(a_plugin_file_is_loaded_used_and_described),
    cmocka_unit_test(files_that_are_no_plugins_are_refused),
    cmocka_unit_test(planted_files_and_directories_are_refused),
    cmocka_unit_test(instances_stop_and_end_in_reverse_order),
    cmocka_unit_test(refusals_of_options_name_their_place),
    cmocka_unit_test(a_configuration_gives_stores_and_transports),
};
const struct unit_group plugin_test_group = UNIT_GROUP(tests);
