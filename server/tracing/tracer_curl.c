/* SPDX-License-Identifier: Apache-2.0 */
/* tracing/tracer_curl.c : OTLP over HTTP with libcurl, blocking, on the executor's thread. */
#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "tracing/tracer.h"

enum { CONNECT_TIMEOUT_MS = 3000, TIMEOUT_MS = 10000 };

struct trace_http {
    CURL *curl;
    struct curl_slist *headers;
    char url[1024], reason[CURL_ERROR_SIZE];
    struct buf shown; /* the URL without its secrets */
    atomic_bool cancelled;
};

static size_t discard(char *data, size_t size, size_t n, void *arg) {
    (void)data;
    (void)arg;
    return size * n;
}

static int on_progress(void *arg, curl_off_t dl, curl_off_t down, curl_off_t ul, curl_off_t up) {
    struct trace_http *h = arg;

    (void)dl;
    (void)down;
    (void)ul;
    (void)up;
    return atomic_load(&h->cancelled);
}

static int http_send(void *self, struct slice request, struct err *err) {
    struct trace_http *h = self;
    long status = 0; /* NOLINT(google-runtime-int): libcurl's type */
    CURLcode c;

    h->reason[0] = 0;
    curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, (const char *)request.data);
    curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request.len);
    c = curl_easy_perform(h->curl);
    if (c != CURLE_OK)
        return err_set(err, RS_EIO, "%.160s: %.60s", h->reason[0] ? h->reason : curl_easy_strerror(c),
                       buf_cstr(&h->shown));
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299)
        return err_set(err, RS_EIO, "%.160s answered with HTTP status %ld", buf_cstr(&h->shown), status);
    return 0;
}

static void http_cancel(void *self) {
    struct trace_http *h = self;

    atomic_store(&h->cancelled, true);
}

static void http_free(void *self) {
    struct trace_http *h = self;

    if (h->curl)
        curl_easy_cleanup(h->curl);
    curl_slist_free_all(h->headers);
    buf_done(&h->shown);
    curl_global_cleanup(); /* counted by libcurl: other users have their own */
    free(h);
}

/* The URL without "otlp+", and with the path that the standard gives when there is none. */
static int make_url(const char *endpoint, char *url, size_t size, struct err *err) {
    const char *text = strncmp(endpoint, "otlp+", 5) == 0 ? endpoint + 5 : endpoint;
    const char *host = strncmp(text, "http://", 7) == 0    ? text + 7
                       : strncmp(text, "https://", 8) == 0 ? text + 8
                                                           : NULL;
    const char *slash = host ? strchr(host, '/') : NULL;
    bool bare = host && (!slash || !slash[1]);

    if (!host || !*host || *host == '/')
        return err_set(err, RS_EINVAL, "\"%.100s\" is not an address like otlp+http://host:4318/v1/traces", endpoint);
    if ((size_t)snprintf(url, size, "%.*s%s", (int)(bare && slash ? (size_t)(slash - text) : strlen(text)), text,
                         bare ? "/v1/traces" : "") >= size)
        return err_set(err, RS_ETOOBIG, "it is longer than %zu bytes", size - 1);
    return 0;
}

static void add_header(struct trace_http *h, const char *name, const char *value) {
    _cleanup_buf_ struct buf line = {0};

    buf_putf(&line, "%s: %s", name, value);
    h->headers = curl_slist_append(h->headers, buf_cstr(&line));
}

int trace_http_new(const struct trace_http_params *p, struct trace_sender *ret, struct err *err) {
    struct trace_http *h = xnew(struct trace_http);
    int r = make_url(p->endpoint, h->url, sizeof h->url, err);

    if (r == 0 && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        r = err_set(err, RS_EIO, "libcurl does not start");
    if (r < 0) {
        free(h);
        return r;
    }
    text_put_shown(&h->shown, h->url);
    h->curl = curl_easy_init();
    if (!h->curl) {
        http_free(h);
        return err_set(err, RS_ENOMEM, "out of memory");
    }
    add_header(h, "content-type", "application/x-protobuf");
    add_header(h, "expect", "");
    for (size_t i = 0; i < p->n_headers; i++)
        add_header(h, p->names[i], p->values[i]);
    curl_easy_setopt(h->curl, CURLOPT_URL, h->url);
    curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, h->headers);
    curl_easy_setopt(h->curl, CURLOPT_POST, 1L);
    curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h->curl, CURLOPT_QUICK_EXIT, 1L); /* a slow name server does not hold up http_free() */
    curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, h->reason);
    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(h->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(h->curl, CURLOPT_XFERINFODATA, h);
    *ret = (struct trace_sender){.send = http_send, .cancel = http_cancel, .free = http_free, .self = h};
    return 0;
}
