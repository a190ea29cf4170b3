/* SPDX-License-Identifier: Apache-2.0 */
/* An echo server and a load generator over server/http and a transport plugin: to measure, and to try with curl.
 *     http_echo serve PLUGIN_DIR tcp://127.0.0.1:0              prints the bound address; ends on SIGTERM
 *     http_echo load PLUGIN_DIR tcp://127.0.0.1:PORT 1|2 CONCURRENCY REQUESTS BYTES      prints one line of JSON
 * The scheme names the plugin; HTTP_ECHO_OPTIONS may name a YAML file with its options. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "http/client.h"
#include "http/server.h"
#include "loop/loop.h"
#include "plugin/plugin.h"

struct bench {
    struct loop *loop;
    struct exec *pool;
    struct host *host;
    struct plugin_registry *plugins;
    struct http_transport transport;
    struct http_client *client;
    struct http_client_request req;
    struct bytes *body;
    uint64_t to_send, to_finish, failed, started_ns;
};

static void die(const char *what, const struct err *err) {
    (void)fprintf(stderr, "%s: %s\n", what, err->msg);
    exit(1);
}

static void setup(struct bench *b, const char *dir, const char *uri) {
    const char *options = getenv("HTTP_ECHO_OPTIONS"), *colon = strchr(uri, ':');
    char name[16] = "";
    struct cfg_tree *tree = NULL;
    struct plugin_instance *plugin;
    struct err err = {0};

    (void)snprintf(name, sizeof name, "%.*s", colon ? (int)MIN(colon - uri, (ptrdiff_t)15) : 0, uri);
    if (options && cfg_parse_file(options, &tree, &err) < 0)
        die("options", &err);

    if (loop_new(&b->loop, &err) < 0)
        die("loop", &err);
    b->pool = exec_new_threads("pool", 1);
    b->host = host_new(&(struct host_params){.pool = b->pool, .loop = b->loop});
    b->plugins = plugin_registry_new(b->host, dir);
    if (plugin_use(b->plugins, RS_KIND_TRANSPORT, name, tree ? cfg_root(tree) : NULL, 0, &plugin, &err) < 0 ||
        plugin_registry_init(b->plugins, &err) < 0)
        die("plugin", &err);
    b->transport = (struct http_transport){plugin->transport, plugin->self};
}

/* ---- server ---- */

static void on_request(void *arg, struct http_request *q) {
    struct http_header h = HTTP_HEADER("content-type", http_header_get(q->headers, q->n_headers, "content-type"));

    http_respond(q, 200, &h, h.value.data ? 1 : 0, TAKE(q->body));
}

static int serve(struct bench *b, const char *uri) {
    struct http_server *s = http_server_new(b->loop, NULL, on_request, b);
    struct err err = {0};
    char bound[256];

    if (http_server_listen(s, b->transport, uri, NULL, &err) < 0)
        die("listen", &err);
    if (http_server_uri(s, 0, bound, sizeof bound) < 0)
        die("uri", &err);
    (void)printf("%s\n", bound);
    (void)fflush(stdout);
    loop_run(b->loop);
    return 0;
}

/* ---- client ---- */

static void next(struct bench *b);

static void on_data(void *arg, struct http_stream *s, struct slice data) {
    http_stream_consume(s, data.len);
}

static void on_closed(void *arg, struct http_stream *s, const struct http_closed *why) {
    struct bench *b = arg;

    if (why->status != 0 && b->failed++ == 0)
        (void)fprintf(stderr, "%s\n", why->message);
    if (--b->to_finish == 0)
        loop_stop(b->loop);
    else
        next(b);
}

static void next(struct bench *b) {
    static const struct http_stream_events ev = {.data = on_data, .closed = on_closed};
    struct http_stream *s;
    struct err err = {0};

    if (b->to_send == 0)
        return;
    b->to_send--;
    if (http_client_request(b->client, &b->req, &ev, b, &s, &err) < 0)
        die("request", &err);
    if (b->body->len)
        (void)http_stream_write(s, bytes_ref(b->body));
    http_stream_end(s);
}

static void begin(void *arg) {
    next(arg);
}

static int load(struct bench *b, const char *uri, char **args) {
    static const struct http_header headers[] = {
        {{(const uint8_t *)"content-type", 12}, {(const uint8_t *)"application/json", 16}},
        {{(const uint8_t *)"user-agent", 10}, {(const uint8_t *)"http-echo", 9}},
    };
    uint64_t concurrency = strtoull(args[1], NULL, 10), n = strtoull(args[2], NULL, 10), ns;
    struct rusage ru;

    b->client = http_client_new(b->loop, NULL);
    b->body = bytes_new(strtoull(args[3], NULL, 10));
    memset(b->body->data, 'x', b->body->len);
    b->req = (struct http_client_request){
        .transport = b->transport,
        .uri = uri,
        .scheme = SLICE_LIT("http"),
        .authority = SLICE_LIT("127.0.0.1"),
        .method = SLICE_LIT("POST"),
        .path = SLICE_LIT("/Counter/k/add?a=b"),
        .version = args[0][0] == '2' ? HTTP_VERSION_2 : HTTP_VERSION_1,
        .headers = headers,
        .n_headers = 2,
    };
    b->to_finish = n;
    b->to_send = n;
    b->started_ns = loop_mono_ns(b->loop);
    for (uint64_t i = 0; i < concurrency; i++)
        loop_post(b->loop, begin, b);
    loop_run(b->loop);
    ns = loop_mono_ns(b->loop) - b->started_ns;
    (void)getrusage(RUSAGE_SELF, &ru);
    (void)printf("{\"version\":%s,\"concurrency\":%s,\"requests\":%s,\"bytes\":%s,\"failed\":%llu,\"per_second\":%.0f,"
                 "\"client_cpu_us\":%.2f}\n",
                 args[0], args[1], args[2], args[3], (unsigned long long)b->failed, (double)n * 1e9 / (double)ns,
                 ((double)ru.ru_utime.tv_sec * 1e6 + (double)ru.ru_utime.tv_usec + (double)ru.ru_stime.tv_sec * 1e6 +
                  (double)ru.ru_stime.tv_usec) /
                     (double)n);
    return b->failed ? 1 : 0;
}

int main(int argc, char **argv) {
    struct bench b = {0};

    if (argc < 4)
        return 2;
    setup(&b, argv[2], argv[3]);
    if (strcmp(argv[1], "serve") == 0)
        return serve(&b, argv[3]);
    return argc == 8 ? load(&b, argv[3], argv + 4) : 2;
}
