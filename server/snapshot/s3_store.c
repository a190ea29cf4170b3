/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot/s3_store.c : objects in a bucket that speaks S3: one request per object, signed by libcurl (SigV4). Requests
 * are made on the caller's thread, with a handle of their own; a progress callback ends them when the node stops. What
 * fails for a reason of the network or the service is tried again a few times. */
#include <curl/curl.h>

#include "base/hash.h"
#include "base/text.h"
#include "snapshot/object_internal.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 4, FIRST_PAUSE_MS = 200, TEXT_BYTES = 1024, CONNECT_SECONDS = 10, SILENT_SECONDS = 30 };
/* One request carries one object. */
#define OBJECT_MAX_BYTES (5ull << 30)

struct s3_store {
    struct object_store base;
    char base_url[TEXT_BYTES]; /* with the prefix and a final '/' */
    char credentials[TEXT_BYTES], signing[TEXT_BYTES], token[4 * TEXT_BYTES];
};

static const char *given(const char *option, const char *variable) {
    const char *v = option && option[0] ? option : getenv(variable); /* NOLINT(concurrency-mt-unsafe): never set here */

    return v && v[0] ? v : NULL;
}

/* "s3://bucket/prefix" in parts; the prefix is without slashes at its ends. */
static int split(const char *url, char bucket[256], char prefix[TEXT_BYTES], struct err *err) {
    const char *rest = url + strlen("s3://"), *slash = strchr(rest, '/');
    size_t n = slash ? (size_t)(slash - rest) : strlen(rest), len;

    if (n == 0 || n >= 256 || strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") < n)
        return err_set(err, RS_EINVAL, "'%s': s3://bucket/prefix is needed", url);
    (void)snprintf(bucket, 256, "%.*s", (int)n, rest);
    while (slash && *slash == '/')
        slash++;
    (void)snprintf(prefix, TEXT_BYTES, "%s", slash ? slash : "");
    len = strlen(prefix);
    while (len && prefix[len - 1] == '/')
        prefix[--len] = 0;
    if (strspn(prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_/") < len)
        return err_set(err, RS_EINVAL, "'%s': the prefix may have letters, digits and . - _ /", url);
    return 0;
}

int s3_store_check(const struct object_store_params *p, struct err *err) {
    char bucket[256], prefix[TEXT_BYTES];
    int r = split(p->url, bucket, prefix, err);

    if (r < 0)
        return r;
    if (!given(p->access_key, "AWS_ACCESS_KEY_ID") || !given(p->secret_key, "AWS_SECRET_ACCESS_KEY"))
        return err_set(err, RS_EINVAL,
                       "S3 needs worker.snapshots.aws-access-key-id and aws-secret-access-key, or the environment's");
    if (!p->endpoint && !given(p->region, "AWS_REGION"))
        return err_set(err, RS_EINVAL, "S3 needs worker.snapshots.aws-region");
    if (p->endpoint && strncmp(p->endpoint, "https://", 8) != 0 && strncmp(p->endpoint, "http://", 7) != 0)
        return err_set(err, RS_EINVAL, "worker.snapshots.aws-endpoint-url is not a URL");
    if (p->endpoint && strncmp(p->endpoint, "http://", 7) == 0 && !p->allow_http)
        return err_set(err, RS_EINVAL, "http:// needs worker.snapshots.aws-allow-http: true");
    return 0;
}

/* ---- one request ---- */

struct request {
    struct s3_store *s;
    const char *method, *key;
    struct slice bytes;                      /* PUT of these, or ... */
    int fd;                                  /* ... of this file */
    uint64_t size;                           /* of either */
    uint64_t at;                             /* sent */
    const struct object_version *if_version; /* PUT; may be NULL */
    struct buf *into;                        /* GET: at most @max bytes here, or ... */
    size_t max;
    int into_fd; /* ... to this file */
    struct object_version etag;
    struct buf error; /* body of an answer that is none of 2xx; at most some hundred bytes */
    CURL *curl;
    struct err *err;
    int failed; /* by a callback of ours */
};

static size_t on_send(char *buffer, size_t size, size_t n, void *arg) {
    struct request *q = arg;
    size_t want = (size_t)MIN((uint64_t)(size * n), q->size - q->at);
    ssize_t got = (ssize_t)want;

    if (q->fd >= 0)
        got = pread(q->fd, buffer, want, (off_t)q->at);
    else if (want)
        memcpy(buffer, q->bytes.data + q->at, want);
    if (got < 0 || (got == 0 && want)) {
        q->failed = err_set(q->err, RS_EIO, "cannot read a snapshot");
        return CURL_READFUNC_ABORT;
    }
    q->at += (uint64_t)got;
    return (size_t)got;
}

static int on_seek(void *arg, curl_off_t offset, int origin) {
    struct request *q = arg;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > q->size)
        return CURL_SEEKFUNC_FAIL;
    q->at = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg) {
    struct request *q = arg;
    const struct slice s = slice_of(data, size * n);
    long code = 0; /* NOLINT(google-runtime-int): curl's type */

    (void)curl_easy_getinfo(q->curl, CURLINFO_RESPONSE_CODE, &code);
    if (code / 100 != 2) {
        if (q->error.len < 400)
            buf_put_slice(&q->error, slice_sub(s, 0, MIN(s.len, (size_t)400)));
    } else if (q->into && q->into->len + s.len > q->max) {
        q->failed = err_set(q->err, RS_ETOOBIG, "%s is too large", q->key);
        return 0;
    } else if (q->into) {
        buf_put_slice(q->into, s);
    } else if (q->into_fd >= 0) {
        q->failed = write_all(q->into_fd, s, q->err);
    }
    return q->failed ? 0 : s.len;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg) {
    struct request *q = arg;
    struct slice s = slice_of(data, size * n);

    if (s.len > 5 && strncasecmp(data, "etag:", 5) == 0) {
        s = slice_from(s, 5);
        while (s.len && (s.data[0] == ' '))
            s = slice_from(s, 1);
        while (s.len && (s.data[s.len - 1] == '\r' || s.data[s.len - 1] == '\n'))
            s.len--;
        if (s.len < sizeof q->etag.text)
            (void)snprintf(q->etag.text, sizeof q->etag.text, SLICE_FMT, SLICE_ARG(s));
    }
    return size * n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    const struct request *q = arg;

    return object_stopped(&q->s->base);
}

static struct curl_slist *headers(const struct request *q) {
    struct curl_slist *l = curl_slist_append(NULL, "Expect:");
    char line[5 * TEXT_BYTES];

    if (q->fd >= 0) {
        l = curl_slist_append(l, "x-amz-content-sha256: UNSIGNED-PAYLOAD"); /* the stream has its own checksums */
    } else {
        uint8_t digest[32];
        struct buf hex = {0};

        sha256(&q->bytes, 1, digest);
        text_put_hex(&hex, slice_of(digest, sizeof digest));
        (void)snprintf(line, sizeof line, "x-amz-content-sha256: %s", buf_cstr(&hex));
        l = curl_slist_append(l, line);
        buf_done(&hex);
    }
    if (q->s->token[0]) {
        (void)snprintf(line, sizeof line, "x-amz-security-token: %s", q->s->token);
        l = curl_slist_append(l, line);
    }
    if (q->if_version && q->if_version->text[0]) {
        (void)snprintf(line, sizeof line, "If-Match: %s", q->if_version->text);
        l = curl_slist_append(l, line);
    } else if (q->if_version) {
        l = curl_slist_append(l, "If-None-Match: *");
    }
    return l;
}

static void prepare(struct request *q, const char *url, struct curl_slist *list) {
    CURL *c = q->curl;

    (void)curl_easy_setopt(c, CURLOPT_URL, url);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(c, CURLOPT_AWS_SIGV4, q->s->signing);
    (void)curl_easy_setopt(c, CURLOPT_USERPWD, q->s->credentials);
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)SILENT_SECONDS);
    (void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, q);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, q);
    (void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(c, CURLOPT_HEADERDATA, q);
    if (strcmp(q->method, "PUT") == 0) {
        (void)curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->size);
        (void)curl_easy_setopt(c, CURLOPT_READFUNCTION, on_send);
        (void)curl_easy_setopt(c, CURLOPT_READDATA, q);
        (void)curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
        (void)curl_easy_setopt(c, CURLOPT_SEEKDATA, q);
    } else if (strcmp(q->method, "DELETE") == 0) {
        (void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, "DELETE");
    }
}

/* What an answer means; RS_EAGAIN: worth another try. */
static int outcome(struct request *q, CURLcode code, const char *text) {
    long status = 0; /* NOLINT(google-runtime-int): curl's type */

    if (q->failed)
        return q->failed;
    if (object_stopped(&q->s->base))
        return err_set(q->err, RS_ECANCELED, "stopping");
    if (code != CURLE_OK)
        return err_set(q->err, RS_EAGAIN, "%s %s: %s", q->method, q->key, text[0] ? text : curl_easy_strerror(code));
    (void)curl_easy_getinfo(q->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status / 100 == 2)
        return 0;
    if (status == 404)
        return err_set(q->err, RS_ENOENT, "%s: not found", q->key);
    if (status == 412)
        return err_set(q->err, RS_EEXIST, "%s was changed meanwhile", q->key);
    return err_set(q->err, status >= 500 || status == 409 || status == 429 ? RS_EAGAIN : RS_EPERM,
                   "%s %s: status %ld: %.100s", q->method, q->key, status, buf_cstr(&q->error));
}

static int once(struct request *q) {
    char url[TEXT_BYTES + 200], text[CURL_ERROR_SIZE] = "";
    struct curl_slist *list = headers(q);
    CURLcode code;
    int r;

    (void)snprintf(url, sizeof url, "%s%s", q->s->base_url, q->key);
    q->at = 0;
    q->failed = 0;
    buf_clear(&q->error);
    if (q->into)
        buf_clear(q->into);
    if (q->into_fd >= 0 && (ftruncate(q->into_fd, 0) < 0 || lseek(q->into_fd, 0, SEEK_SET) < 0))
        q->failed = err_errno(q->err, "cannot write a snapshot");
    q->curl = curl_easy_init();
    (void)curl_easy_setopt(q->curl, CURLOPT_ERRORBUFFER, text);
    prepare(q, url, list);
    code = curl_easy_perform(q->curl);
    r = outcome(q, code, text);
    curl_easy_cleanup(q->curl);
    curl_slist_free_all(list);
    return r;
}

static int perform(struct request *q, struct err *err) {
    struct err own;
    int r = RS_EAGAIN;

    q->err = err ? err : &own;
    for (int i = 0; r == RS_EAGAIN && i < TRIES; i++) {
        uint64_t ms = (uint64_t)FIRST_PAUSE_MS << i;
        const struct timespec pause = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

        r = once(q);
        if (r == RS_EAGAIN && i + 1 < TRIES)
            (void)nanosleep(&pause, NULL);
    }
    buf_done(&q->error);
    return r;
}

/* ---- objects ---- */

static struct request request(struct object_store *s, const char *method, const char *key) {
    return (struct request){
        .s = CONTAINER_OF(s, struct s3_store, base), .method = method, .key = key, .fd = -1, .into_fd = -1};
}

static int s3_get(struct object_store *s, const char *key, size_t max, struct buf *ret,
                  struct object_version *ret_version, struct err *err) {
    struct request q = request(s, "GET", key);
    int r;

    q.into = ret;
    q.max = max;
    r = perform(&q, err);
    *ret_version = q.etag;
    return r;
}

static int s3_put(struct object_store *s, const char *key, struct slice bytes, const struct object_version *if_version,
                  struct err *err) {
    struct request q = request(s, "PUT", key);

    q.bytes = bytes;
    q.size = bytes.len;
    q.if_version = if_version;
    return perform(&q, err);
}

static int s3_put_file(struct object_store *s, const char *key, int fd, uint64_t size, struct err *err) {
    struct request q = request(s, "PUT", key);

    if (size > OBJECT_MAX_BYTES)
        return err_set(err, RS_ETOOBIG, "%s: an object has at most 5 GiB", key);
    q.fd = fd;
    q.size = size;
    return perform(&q, err);
}

static int s3_open(struct object_store *s, const char *key, const char *tmp_dir, int *ret_fd, struct err *err) {
    struct request q = request(s, "GET", key);
    int fd, r = nameless_file(tmp_dir, &fd, err);

    if (r < 0)
        return r;
    q.into_fd = fd;
    r = perform(&q, err);
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = err_errno(err, "cannot read a snapshot");
    if (r < 0)
        (void)close(fd);
    else
        *ret_fd = fd;
    return r;
}

static int s3_delete(struct object_store *s, const char *key, struct err *err) {
    struct request q = request(s, "DELETE", key);
    int r = perform(&q, err);

    return r == RS_ENOENT ? 0 : r;
}

static void s3_free(struct object_store *s) {
    struct s3_store *t = CONTAINER_OF(s, struct s3_store, base);

    explicit_bzero(t->credentials, sizeof t->credentials);
    explicit_bzero(t->token, sizeof t->token);
    free(t);
    curl_global_cleanup();
}

static const struct object_ops s3_ops = {s3_get, s3_put, s3_put_file, s3_open, s3_delete, s3_free};

int s3_store_open(const struct object_store_params *p, struct object_store **ret, struct err *err) {
    const char *region = given(p->region, "AWS_REGION"), *token = given(p->session_token, "AWS_SESSION_TOKEN");
    char bucket[256], prefix[TEXT_BYTES];
    struct s3_store *s;
    size_t n;
    int r = split(p->url, bucket, prefix, err);

    if (r < 0)
        return r;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(err, RS_EIO, "libcurl cannot be used");
    s = xnew(struct s3_store);
    s->base = (struct object_store){.ops = &s3_ops, .stop = p->stop};
    if (!region)
        region = "us-east-1";
    if (p->endpoint) {
        n = strlen(p->endpoint);
        r = snprintf(s->base_url, TEXT_BYTES, "%s%s%s/", p->endpoint, n && p->endpoint[n - 1] == '/' ? "" : "/",
                     bucket);
    } else {
        r = snprintf(s->base_url, TEXT_BYTES, "https://%s.s3.%s.amazonaws.com/", bucket, region);
    }
    if (r < TEXT_BYTES && prefix[0])
        r += snprintf(s->base_url + r, (size_t)(TEXT_BYTES - r), "%s/", prefix);
    n = (size_t)snprintf(s->credentials, TEXT_BYTES, "%s:%s", given(p->access_key, "AWS_ACCESS_KEY_ID"),
                         given(p->secret_key, "AWS_SECRET_ACCESS_KEY"));
    (void)snprintf(s->signing, TEXT_BYTES, "aws:amz:%s:s3", region);
    (void)snprintf(s->token, sizeof s->token, "%s", token ? token : "");
    if (r >= TEXT_BYTES || n >= TEXT_BYTES || strlen(region) > 100 || (token && strlen(token) >= sizeof s->token)) {
        s3_free(&s->base);
        return err_set(err, RS_EINVAL, "the address or the credentials are too long");
    }
    *ret = &s->base;
    return 0;
}
