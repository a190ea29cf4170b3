/* SPDX-License-Identifier: Apache-2.0 */
#include "base/logging.h"
#include "base/buf.h"

#include <time.h>
#include <unistd.h>

int logging_level_ = RS_LOG_INFO;
static int sink_fd = STDERR_FILENO;
static enum logging_format sink_format = LOGGING_PRETTY;

void logging_init(int fd, int level, enum logging_format format) {
    sink_fd = fd;
    sink_format = format;
    logging_set_level(level);
}

void logging_set_level(int level) {
    __atomic_store_n(&logging_level_, level, __ATOMIC_RELAXED);
}

static void put_escaped(struct buf *b, struct slice s, bool json) {
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];

        if (c == '"' || c == '\\')
            buf_putf(b, "\\%c", c);
        else if (c < 0x20 || (!json && c == 0x7f))
            buf_putf(b, "\\u%04x", c);
        else
            buf_put_u8(b, c);
    }
}

static void put_value(struct buf *b, const struct log_field *f, bool json) {
    struct slice s;

    switch (f->type) {
    case RS_FIELD_U64:
        buf_putf(b, "%llu", (unsigned long long)f->v.u64);
        return;
    case RS_FIELD_I64:
        buf_putf(b, "%lld", (long long)f->v.i64);
        return;
    case RS_FIELD_F64:
        buf_putf(b, "%g", f->v.f64);
        return;
    default:
        s = f->type == LOG_FIELD_SLICE ? f->v.slice : slice_str(f->v.str ? f->v.str : "");
        buf_put_u8(b, '"');
        put_escaped(b, s, json);
        buf_put_u8(b, '"');
    }
}

void logging_emit(int level, const char *message, const struct log_field *fields, size_t n) {
    static const char *const names[] = {"?", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"};
    const char *name = level >= 1 && level <= 5 ? names[level] : names[0];
    bool json = sink_format == LOGGING_JSON;
    _cleanup_buf_ struct buf b = {0};
    struct timespec ts;
    struct tm tm;
    char when[40];

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    (void)gmtime_r(&ts.tv_sec, &tm);
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    if (json)
        buf_putf(&b, "{\"timestamp\":\"%s.%06ldZ\",\"level\":\"%s\",\"message\":\"%s\"", when, ts.tv_nsec / 1000, name,
                 message);
    else
        buf_putf(&b, "%s.%06ldZ %-5s %s", when, ts.tv_nsec / 1000, name, message);
    for (size_t i = 0; i < n; i++) {
        buf_putf(&b, json ? ",\"%s\":" : " %s=", fields[i].name);
        put_value(&b, &fields[i], json);
    }
    buf_put_str(&b, json ? "}\n" : "\n");
    (void)!write(sink_fd, b.data, b.len); /* one write per line keeps lines whole; nothing better to do on failure */
}
