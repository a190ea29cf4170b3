/* SPDX-License-Identifier: Apache-2.0 */
/* The invoker's memory: a deployment in the same process, journals and state made up on reading. */
#include "unit.h"
#include "base/logging.h"
#include "http/fake_transport.h"
#include "http/server.h"
#include "invoker/invoker_internal.h"

#include <fcntl.h>
#include <unistd.h>

enum { MANY = 40, MEMORY = 1 << 20, PER_INVOCATION = 256 << 10, INITIAL = 32 << 10 };

struct fixture {
    struct fake_net *net;
    struct http_server *server;
    struct invoker *inv;
    struct invoker_owner owner;
    /* the owner's tables, the same for all invocations */
    uint32_t entries;
    size_t entry_bytes, state_rows, state_bytes;
    bool cold; /* every other read of the journal finds nothing */
    unsigned reads;
    bool broken;    /* the second entry of a journal cannot be read */
    bool full;      /* it takes no effects */
    bool moody;     /* it often takes none, for a while */
    unsigned asked; /* whether it takes any */
    unsigned tells; /* in so many turns that it takes some again */
    bool acks_posted;
    /* what the deployment answers, and saw */
    size_t answer_bytes;
    unsigned sets; /* commands of the same size before the output */
    unsigned requests, journal_entries;
    size_t state_seen;
    bool partial_state, out_of_order;
    /* what the owner got */
    unsigned ended, paused, failures;
    size_t output_bytes, most_used;
    char pause_code[8];
    bool closed, drained;
};

static void look(struct fixture *f) {
    f->most_used = MAX(f->most_used, f->inv->pool.used);
}

/* ---- the deployment ---- */

static void see(struct fixture *f, const struct sp_frame *frame, uint32_t *next) {
    struct arena a = {0};
    struct sp_start m;

    if (frame->type == SP_START) {
        assert_int_equal(sp_start_decode(&m, frame->payload, &a, NULL), 0);
        assert_int_equal(m.known_entries, f->entries);
        f->partial_state = m.partial_state;
        for (size_t i = 0; i < m.n_state_map; i++)
            f->state_seen += m.state_map[i].value.len;
    } else {
        f->out_of_order |= frame->payload.len < 4 || get_u32le(frame->payload.data) != *next;
        ++*next;
        f->journal_entries++;
    }
    arena_done(&a);
}

static void on_request(void *arg, struct http_request *req) {
    struct fixture *f = arg;
    struct http_header h = HTTP_HEADER("content-type", slice_str(sp_content_type(6)));
    struct sp_decoder d = {.limit = 64 << 20};
    struct slice in = bytes_slice(req->body);
    struct sp_frame frame;
    struct buf out = {0}, content = {0};
    struct sp_value v;
    struct sp_output m = {.value = &v};
    struct sp_set_state set = {.key = SLICE_LIT("key"), .value = &v};
    uint32_t next = 0;
    size_t begin;

    f->requests++;
    while (sp_decoder_next(&d, &in, &frame, NULL) > 0)
        see(f, &frame, &next);
    sp_decoder_done(&d);
    memset(buf_add(&content, f->answer_bytes), 'x', f->answer_bytes);
    v = (struct sp_value){.content = buf_slice(&content)};
    for (unsigned i = 0; i < f->sets; i++) {
        begin = sp_frame_begin(&out);
        sp_set_state_encode(&set, &out);
        sp_frame_end(&out, begin, SP_SET_STATE, 0);
    }
    begin = sp_frame_begin(&out);
    sp_output_encode(&m, &out);
    sp_frame_end(&out, begin, SP_OUTPUT, 0);
    sp_frame_put(&out, SP_END, 0, SLICE_NULL);
    http_respond(req, 200, &h, 1, bytes_take_buf(&out));
    buf_done(&content);
}

/* ---- the owner ---- */

static int owner_read(struct invoker_owner *o, const struct invocation_id *id, const struct invoker_read_events *ev,
                      void *arg, struct err *err) {
    struct fixture *f = CONTAINER_OF(o, struct fixture, owner);
    struct cmd_target target = {.type = TARGET_OBJECT_EXCLUSIVE,
                                .service = SLICE_LIT("Large"),
                                .handler = SLICE_LIT("run"),
                                .key = SLICE_LIT("k")};
    struct invoker_journal_head head = {.target = &target, .entries = f->entries, .commands = 1, .start_lsn = 1};
    struct buf value = {0};
    bool want_state = false;
    int r = ev->head(arg, &head, &want_state);

    if (r == 0 && want_state) {
        memset(buf_add(&value, f->state_bytes), 's', f->state_bytes);
        for (size_t i = 0; r == 0 && i < f->state_rows; i++)
            r = ev->state(arg, SLICE_LIT("key"), buf_slice(&value));
        buf_done(&value);
        r = 0;
    }
    look(f);
    return r;
}

static void read_again(void *arg) {
    struct fixture *f = arg;

    for (unsigned i = 0; i < MANY; i++) {
        struct invocation_id id = {.raw = {[16] = (uint8_t)i}};

        invoker_read_again(f->inv, &f->owner, &id);
    }
}

static int owner_entries(struct invoker_owner *o, const struct invocation_id *id, uint32_t from, uint32_t until,
                         invoker_entry_fn entry, void *arg, struct err *err) {
    struct fixture *f = CONTAINER_OF(o, struct fixture, owner);
    struct buf value = {0};
    int r = 0;

    if (f->cold && f->reads++ % 2 == 0) {
        loop_post(f->net->loop, read_again, f);
        return RS_EAGAIN;
    }
    memset(buf_add(&value, f->entry_bytes), 'j', f->entry_bytes);
    for (uint32_t i = from; r == 0 && i < until; i++) {
        if (f->broken && i == 1) {
            r = err_set(err, RS_ECORRUPT, "it is broken");
            break;
        }
        put_u32le(value.data, i);
        r = entry(arg, i, i ? SP_RUN_COMPLETION : SP_INPUT, buf_slice(&value));
        look(f);
    }
    buf_done(&value);
    return r;
}

static void ack_all(void *arg) {
    struct fixture *f = arg;

    f->acks_posted = false;
    for (unsigned i = 0; i < MANY; i++) {
        struct invocation_id id = {.raw = {[16] = (uint8_t)i}};

        invoker_ack(f->inv, &f->owner, &id, 10);
    }
}

static void owner_effects(struct invoker_owner *o, const struct invocation_id *id, uint64_t start_lsn,
                          const struct cmd_effect *effects, size_t n) {
    struct fixture *f = CONTAINER_OF(o, struct fixture, owner);

    look(f);
    for (size_t i = 0; i < n; i++) {
        if (effects[i].kind == EFFECT_END)
            f->ended++;
        if (effects[i].kind == EFFECT_COMMAND)
            f->output_bytes += effects[i].payload.len;
        if (effects[i].kind == EFFECT_EVENT)
            f->failures++;
        if (effects[i].kind == EFFECT_PAUSED) {
            f->paused++;
            (void)snprintf(f->pause_code, sizeof f->pause_code, SLICE_FMT, SLICE_ARG(effects[i].event->doc_code));
        }
    }
    if (!f->acks_posted)
        loop_post(f->net->loop, ack_all, f);
    f->acks_posted = true;
}

enum { TELLS_AFTER_TURNS = 20 };

static void writable_again(void *arg) {
    struct fixture *f = arg;

    if (--f->tells) {
        loop_post(f->net->loop, writable_again, f);
        return;
    }
    invoker_owner_writable(f->inv);
}

/* A moody one has room again before it tells, as one does that is full above a half and tells below a quarter. */
static bool owner_writable(struct invoker_owner *o) {
    struct fixture *f = CONTAINER_OF(o, struct fixture, owner);

    if (f->moody && (f->asked++ * 2654435761u >> 28) % 3 == 0) {
        if (!f->tells)
            loop_post(f->net->loop, writable_again, f);
        f->tells = TELLS_AFTER_TURNS;
        return false;
    }
    return !f->full;
}

/* ---- running ---- */

static void use_service(struct fixture *f) {
    static const struct schema_defaults defaults = {.abort_timeout_ms = 600000,
                                                    .retry = {.initial_ms = 1, .factor = 1}};
    json_t *root,
        *manifest =
            json_loads("{\"protocolMode\":\"REQUEST_RESPONSE\",\"minProtocolVersion\":5,\"maxProtocolVersion\":6,"
                       "\"services\":[{\"name\":\"Large\",\"ty\":\"VIRTUAL_OBJECT\",\"handlers\":[{\"name\":\"run\","
                       "\"ty\":\"EXCLUSIVE\"}]}]}",
                       0, NULL);
    struct schema_registration r = {.id = "dp_10000000000000000000001",
                                    .uri = "http://service:9080/",
                                    .created_at = "2026-11-22T00:00:00.000000000Z",
                                    .http = DEPLOYMENT_HTTP2,
                                    .sdk_version = "test/1",
                                    .manifest = manifest};
    struct schema_refusal why;
    struct schema *s;
    char *text;

    assert_int_equal(schema_parse(SLICE_NULL, 0, &defaults, &s, NULL), 0);
    assert_int_equal(schema_plan_register(s, &r, &root, &why, NULL), 0);
    (void)schema_unref(s);
    text = json_dumps(root, JSON_COMPACT);
    assert_int_equal(schema_parse(slice_str(text), 1, &defaults, &s, NULL), 0);
    invoker_set_schema(f->inv, s);
    (void)schema_unref(s);
    free(text);
    json_decref(root);
    json_decref(manifest);
}

static void set_up_with(struct fixture *f, struct invoker_params p, const char *uri) {
    p.concurrency = 1000;
    p.message_limit_bytes = p.eager_state_limit_bytes = 8 << 20;
    p.memory_bytes = MEMORY;
    p.invocation_memory_bytes = PER_INVOCATION;
    p.initial_bytes = INITIAL;
    *f = (struct fixture){.net = fake_net_new(), .entries = 1, .entry_bytes = 10, .answer_bytes = 10};
    f->server = http_server_new(f->net->loop, NULL, on_request, f);
    assert_int_equal(http_server_listen(f->server, fake_transport(f->net), uri, NULL, NULL), 0);
    f->owner = (struct invoker_owner){
        .read = owner_read, .entries = owner_entries, .effects = owner_effects, .writable = owner_writable};
    p.loop = f->net->loop;
    p.http = fake_transport(f->net);
    f->inv = invoker_new(&p);
    use_service(f);
}

static void set_up(struct fixture *f) {
    set_up_with(f, (struct invoker_params){0}, "tcp://service:9080");
}

static void begin(struct fixture *f, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct invocation_id id = {.raw = {[16] = (uint8_t)i}};

        invoker_invoke(f->inv, &f->owner, &id, 1);
    }
}

static void invoke(struct fixture *f, unsigned n) {
    begin(f, n);
    fake_run(f->net);
}

static void turns(struct fixture *f, unsigned n) {
    while (n-- && loop_turn(f->net->loop))
        ;
}

static void pass(struct fixture *f, unsigned seconds) {
    while (seconds--)
        fake_advance(f->net, 1000000000);
}

/* Everything is large at once. */
static void use_much(struct fixture *f) {
    f->entries = 5;
    f->entry_bytes = 50000;
    f->state_rows = 5;
    f->state_bytes = 20000;
    f->answer_bytes = 60000;
}

static void set(void *flag) {
    *(bool *)flag = true;
}

static void tear_down(struct fixture *f) {
    fake_advance(f->net, 6000000000); /* detached streams end */
    assert_int_equal(f->inv->pool.used, 0);
    assert_true(list_empty(&f->inv->pool.waiting));
    assert_null(f->inv->pool.favoured);
    invoker_close(f->inv, set, &f->closed);
    fake_run(f->net);
    assert_true(f->closed);
    http_server_drain(f->server, 0, set, &f->drained);
    fake_run(f->net);
    fake_advance(f->net, 1);
    assert_true(f->drained);
    (void)http_server_free(f->server);
    fake_net_free(f->net);
}

static const size_t pool_bytes = MEMORY - MEMORY / 4;

static void journals_larger_than_the_memory_are_sent_in_order(void **state) {
    for (unsigned cold = 0; cold < 2; cold++) {
        struct fixture f;

        set_up(&f);
        f.cold = cold;
        f.entries = 20;
        f.entry_bytes = 100000;
        invoke(&f, MANY);
        assert_int_equal(f.ended, MANY);
        assert_int_equal(f.journal_entries, MANY * 20);
        assert_false(f.out_of_order);
        assert_true(f.most_used > 0 && f.most_used <= pool_bytes);
        tear_down(&f);
    }
}

static void large_answers_wait_for_memory_and_all_come(void **state) {
    struct fixture f;

    set_up(&f);
    f.answer_bytes = 200000;
    invoke(&f, MANY);
    assert_int_equal(f.ended, MANY);
    assert_true(f.output_bytes > (size_t)MANY * 200000);
    assert_true(f.most_used >= 200000 && f.most_used <= pool_bytes);
    tear_down(&f);
}

static void state_waits_for_memory_and_all_of_it_is_sent(void **state) {
    struct fixture f;

    set_up(&f);
    f.state_rows = 20;
    f.state_bytes = 10000;
    invoke(&f, MANY);
    assert_int_equal(f.ended, MANY);
    assert_int_equal(f.state_seen, MANY * 200000);
    assert_false(f.partial_state);
    assert_true(f.most_used >= 150000 && f.most_used <= pool_bytes);
    tear_down(&f);
}

static void nothing_is_taken_while_the_owner_is_full(void **state) {
    struct fixture f;

    set_up(&f);
    f.full = true;
    f.answer_bytes = 200000;
    invoke(&f, MANY);
    assert_int_equal(f.output_bytes, 0);
    assert_int_equal(f.inv->pool.used, 0); /* nobody asked: nobody looked at what came */
    f.full = false;
    invoker_owner_writable(f.inv);
    fake_run(f.net);
    assert_int_equal(f.ended, MANY);
    tear_down(&f);
}

static void what_does_not_fit_one_invocation_pauses_it(void **state) {
    for (unsigned what = 0; what < 2; what++) {
        struct fixture f;

        set_up(&f);
        f.answer_bytes = what == 0 ? PER_INVOCATION : 10;
        f.state_rows = what == 1 ? 3 : 0;
        f.state_bytes = 100000;
        invoke(&f, 1);
        assert_int_equal(f.paused, 1);
        assert_string_equal(f.pause_code, "RT0001");
        assert_int_equal(f.ended, 0);
        tear_down(&f);
    }
}

static void an_owner_may_have_room_before_it_tells(void **state) {
    struct fixture f;

    set_up(&f);
    f.moody = true;
    f.net->read_max = 3000;
    f.answer_bytes = 100000;
    f.sets = 3;
    invoke(&f, MANY);
    assert_int_equal(f.ended, MANY);
    assert_int_equal(f.failures, 0);
    tear_down(&f);
}

/* Far longer than the abort timeout, for memory and for the owner. */
static void to_wait_in_line_is_not_silence(void **state) {
    struct fixture f;

    set_up(&f);
    f.answer_bytes = 200000;
    invoke(&f, 3);
    begin(&f, MANY);
    turns(&f, 6); /* some hold memory, some wait for it */
    f.full = true;
    pass(&f, 1500);
    assert_int_equal(f.failures, 0);
    f.full = false;
    invoker_owner_writable(f.inv);
    fake_run(f.net);
    assert_int_equal(f.ended, 3 + MANY);
    assert_int_equal(f.failures, 0);
    tear_down(&f);
}

static void a_lost_connection_gives_everything_back(void **state) {
    for (unsigned k = 1; k < 25; k += 3) {
        struct fixture f;

        set_up(&f);
        use_much(&f);
        f.cold = k % 2;
        f.moody = k % 4 == 0;
        f.net->capacity = 20000;
        begin(&f, MANY);
        turns(&f, k);
        fake_cut(f.net, 0);
        fake_run(f.net);
        pass(&f, 20); /* tried again */
        assert_int_equal(f.ended, MANY);
        tear_down(&f);
    }
}

static void a_kill_gives_everything_back(void **state) {
    for (unsigned k = 1; k < 25; k += 3) {
        struct fixture f;

        set_up(&f);
        use_much(&f);
        f.cold = k % 2;
        f.moody = k % 4 == 0;
        f.net->capacity = 20000;
        begin(&f, MANY);
        turns(&f, k);
        for (unsigned i = 0; i < MANY; i += 2) {
            struct invocation_id id = {.raw = {[16] = (uint8_t)i}};

            invoker_abort(f.inv, &f.owner, &id);
        }
        fake_run(f.net);
        assert_true(f.ended >= MANY / 2); /* the others are served */
        tear_down(&f);
    }
}

static void a_leader_that_steps_down_gives_everything_back(void **state) {
    for (unsigned k = 1; k < 25; k += 3) {
        struct fixture f;

        set_up(&f);
        use_much(&f);
        f.net->capacity = 20000;
        begin(&f, MANY);
        turns(&f, k);
        invoker_abort_all(f.inv, &f.owner);
        assert_true(f.inv->pool.used == 0 || !list_empty(&f.inv->detached));
        tear_down(&f);
    }
}

static void a_journal_that_cannot_be_read_is_a_failed_attempt(void **state) {
    struct fixture f;

    set_up(&f);
    use_much(&f);
    f.broken = true;
    invoke(&f, MANY);
    pass(&f, 1);
    assert_true(f.failures > 0);
    f.broken = false;
    pass(&f, 20);
    assert_int_equal(f.ended, MANY);
    tear_down(&f);
}

static void connections_are_shared_and_kept_as_far_as_configured(void **state) {
    static const struct {
        struct invoker_params p;
        uint64_t made, left; /* connections for four invocations; after ten seconds */
    } rows[] = {{{0}, 1, 1}, {{.streams_per_connection = 1}, 4, 4}, {{.idle_timeout_ns = 5000000000}, 1, 0}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_client_stats st;
        struct fixture f;

        set_up_with(&f, rows[i].p, "tcp://service:9080");
        invoke(&f, 4);
        assert_int_equal(f.ended, 4);
        http_client_stats(f.inv->client, &st);
        assert_int_equal(st.connections_total, rows[i].made);
        pass(&f, 10);
        http_client_stats(f.inv->client, &st);
        assert_int_equal(st.connections, rows[i].left);
        tear_down(&f);
    }
}

static void a_deployment_that_answers_no_ping_has_failed(void **state) {
    for (unsigned often = 0; often < 2; often++) {
        struct invoker_params p = {.ping_interval_ns = often ? 1000000000 : 0,
                                   .ping_timeout_ns = often ? 1000000000 : 0};
        struct fake_peer dumb = {0};
        struct fixture f;

        set_up_with(&f, p, "tcp://other:9080");
        fake_peer_serve(f.net, "tcp://service:9080", &dumb);
        invoke(&f, 1);
        f.net->refuse_connect = true;
        pass(&f, 4);
        assert_int_equal(dumb.eof, often); /* seldom: after 40 seconds and more */
        fake_peer_close(&dumb, true);
        fake_run(f.net);
        buf_done(&dumb.got);
        tear_down(&f);
    }
}

static void large_messages_are_logged(void **state) {
    for (unsigned large = 0; large < 2; large++) {
        char said[600] = "";
        struct fixture f;
        int fds[2];

        assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
        set_up_with(&f, (struct invoker_params){.message_warning_bytes = 1000}, "tcp://service:9080");
        f.answer_bytes = large ? 5000 : 500;
        logging_init(fds[1], RS_LOG_WARN, LOGGING_JSON);
        invoke(&f, 1);
        logging_init(STDERR_FILENO, RS_LOG_INFO, LOGGING_PRETTY);
        assert_int_equal(f.ended, 1);
        assert_int_equal(read(fds[0], said, sizeof said - 1) > 0, large);
        assert_int_equal(strstr(said, "message-size-warning") != NULL, large);
        (void)close(fds[0]);
        (void)close(fds[1]);
        tear_down(&f);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(journals_larger_than_the_memory_are_sent_in_order),
    cmocka_unit_test(large_answers_wait_for_memory_and_all_come),
    cmocka_unit_test(state_waits_for_memory_and_all_of_it_is_sent),
    cmocka_unit_test(nothing_is_taken_while_the_owner_is_full),
    cmocka_unit_test(what_does_not_fit_one_invocation_pauses_it),
    cmocka_unit_test(an_owner_may_have_room_before_it_tells),
    cmocka_unit_test(to_wait_in_line_is_not_silence),
    cmocka_unit_test(a_lost_connection_gives_everything_back),
    cmocka_unit_test(a_kill_gives_everything_back),
    cmocka_unit_test(a_leader_that_steps_down_gives_everything_back),
    cmocka_unit_test(a_journal_that_cannot_be_read_is_a_failed_attempt),
    cmocka_unit_test(connections_are_shared_and_kept_as_far_as_configured),
    cmocka_unit_test(a_deployment_that_answers_no_ping_has_failed),
    cmocka_unit_test(large_messages_are_logged),
};
const struct unit_group invoker_test_group = UNIT_GROUP(tests);
