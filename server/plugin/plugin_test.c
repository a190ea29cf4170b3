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
    } rows[] = {{"absent", "there is no storage plugin \"absent\" in " PLUGIN_TEST_DIR
                           "; there are foreign, good, refusing, unresolved"},
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

static bool have_all_plugins(void) { /* a build may leave some out */
    static const char *const names[] = {"storage-lmdb", "storage-rocksdb", "transport-tcp", "transport-tls"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[400];

        (void)snprintf(path, sizeof path, PLUGIN_BUILD_DIR "/%s.so", names[i]);
        if (access(path, R_OK) < 0)
            return false;
    }
    return true;
}

static struct config *load_config(const char *file, const char *variable) {
    const char *env[] = {"RESTATE_PLUGINS__DIR=" PLUGIN_BUILD_DIR, variable, NULL};
    const char *argv[] = {"restate-server", "-c", file, NULL};
    struct config_inputs in = {.argc = file ? 3 : 1,
                               .argv = (char *const *)(uintptr_t)argv,
                               .envp = (char *const *)(uintptr_t)env,
                               .hostname = "box"};
    struct config_run run;
    struct config *c = NULL;
    struct err err = {0};

    if (config_load(&in, &run, &c, &err))
        fail_msg("%s", err.msg);
    return c;
}

static void a_configuration_gives_stores_and_transports(void **state) {
    struct plugin_set set;
    struct err err = {0};
    struct fixture f;
    struct config *c;

    if (!have_all_plugins())
        skip();
    c = load_config(NULL, "RESTATE_STORAGE__META=lmdb");
    setup(&f, c->plugins_dir);
    if (plugin_set_use(f.reg, c, &set, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(set.store[STORE_META]->info->name, "lmdb");
    assert_string_equal(set.store[STORE_LOG]->info->name, "rocksdb");
    assert_ptr_equal(set.store[STORE_LOG], set.store[STORE_DATA]);
    assert_ptr_equal(transports_find(set.fabric, "tcp"), transports_find(set.admin, "unix"));
    assert_null(transports_find(set.ingress, "tls"));
    assert_non_null(transports_find(set.invoker, "tls"));
    plugin_set_done(&set);
    teardown(&f);
    (void)config_free(c);
}

static void the_plugins_accept_the_sample_files(void **state) {
    static const char *const names[] = {"single-rocksdb", "single-lmdb", "cluster-n1", "tls"};

    if (!have_all_plugins())
        skip();
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct plugin_set set;
        struct err err = {0};
        struct fixture f;
        struct config *c;
        char path[400];

        (void)snprintf(path, sizeof path, CONFIGS_DIR "/%s.yaml", names[i]);
        c = load_config(path, NULL);
        setup(&f, c->plugins_dir);
        if (plugin_set_use(f.reg, c, &set, &err) < 0)
            fail_msg("%s: %s", names[i], err.msg);
        if (strcmp(names[i], "tls") == 0)
            assert_ptr_not_equal(transports_find(set.fabric, "tls"), transports_find(set.ingress, "tls"));
        plugin_set_done(&set);
        teardown(&f);
        (void)config_free(c);
    }
}

/* ---- a stream through a loaded transport ---- */

struct stream {
    struct fixture f;
    struct plugin_set set;
    const rs_transport_ops *ops, *listen_ops;
    rs_listener *listener;
    rs_conn *server, *client;
    char got[16];
    unsigned closed;
};

static void on_ready(void *arg, rs_conn *c) {
    struct stream *s = arg;

    if (c == s->client)
        assert_int_equal(s->ops->write(c, &(struct iovec){.iov_base = (char[]){'h', 'i'}, .iov_len = 2}, 1), 2);
}

static void on_readable(void *arg, rs_conn *c) {
    struct stream *s = arg;
    size_t have = strlen(s->got);
    int64_t n = s->ops->read(c, s->got + have, sizeof s->got - have - 1);

    if (n == RS_EAGAIN)
        return;
    assert_true(n > 0);
    if (strcmp(s->got, "hi") == 0) {
        s->ops->close(s->server, 1);
        s->ops->close(s->client, 1);
    }
}

static void on_writable(void *arg, rs_conn *c) {}

static void on_closed(void *arg, rs_conn *c, int status, const rs_error *error) {
    struct stream *s = arg;

    if (++s->closed == 2) {
        s->listen_ops->listener_close(s->listener);
        loop_stop(s->f.loop);
    }
}

static const rs_conn_events stream_events = {.struct_size = sizeof(rs_conn_events),
                                             .ready = on_ready,
                                             .readable = on_readable,
                                             .writable = on_writable,
                                             .closed = on_closed};

static void on_accepted(void *arg, rs_conn *c) {
    struct stream *s = arg;

    s->server = c;
    assert_int_equal(s->listen_ops->attach(c, host_loop(s->f.loop), &stream_events, s), 0);
}

static void bytes_pass_through_a_loaded_transport(void **state) {
    const rs_conn_opts opts = {
        .struct_size = sizeof opts, .connect_timeout_ns = 5000000000u, .handshake_timeout_ns = 5000000000u};
    struct stream s = {0};
    struct err err = {0};
    struct config *c;
    struct exec *pool;
    char uri[600];

    if (!have_all_plugins())
        skip();
    c = load_config(NULL, "RESTATE_STORAGE=lmdb");
    assert_int_equal(loop_new(&s.f.loop, NULL), 0);
    pool = exec_new_threads("test", 1);
    s.f.host = host_new(&(struct host_params){.loop = s.f.loop, .pool = pool});
    s.f.reg = plugin_registry_new(s.f.host, c->plugins_dir);
    assert_int_equal(plugin_set_use(s.f.reg, c, &s.set, &err), 0);
    assert_int_equal(plugin_registry_init(s.f.reg, &err), 0);
    if (transports_listen(s.set.fabric, s.f.loop, "127.0.0.1:0", &opts, on_accepted, &s, &s.listen_ops, &s.listener,
                          &err) < 0)
        fail_msg("%s", err.msg);
    assert_true(s.listen_ops->listener_uri(s.listener, uri, sizeof uri) >= 0);
    if (transports_connect(s.set.fabric, s.f.loop, uri, &opts, &stream_events, &s, &s.ops, &s.client, &err) < 0)
        fail_msg("%s: %s", uri, err.msg);
    loop_run(s.f.loop);
    assert_string_equal(s.got, "hi");
    plugin_set_done(&s.set);
    plugin_registry_stop(s.f.reg, s.f.loop, stop_loop, s.f.loop);
    loop_run(s.f.loop);
    (void)plugin_registry_free(s.f.reg);
    (void)exec_free(pool);
    (void)loop_free(s.f.loop);
    (void)host_free(s.f.host);
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
    cmocka_unit_test(the_plugins_accept_the_sample_files),
    cmocka_unit_test(bytes_pass_through_a_loaded_transport),
};
const struct unit_group plugin_test_group = UNIT_GROUP(tests);
