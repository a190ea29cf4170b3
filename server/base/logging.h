/* SPDX-License-Identifier: Apache-2.0 */
/* base/logging.h : diagnostics for people, one line per event: constant lower-case message and named fields.
 *
 *     LOG_INFO("segment sealed", F_U64("log_id", id), F_STR("node", name));
 *
 * error: someone must act. warn: handled, unusual. info: changes of role or configuration. debug/trace: per operation.
 * Never a user payload. The sink is process-wide (one of the three allowed globals), set once at start; writing is
 * thread-safe. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"

enum logging_format { LOGGING_PRETTY, LOGGING_COMPACT, LOGGING_JSON };

struct log_field {
    const char *name;
    int type; /* RS_FIELD_* ; LOG_FIELD_SLICE */
    union {
        uint64_t u64;
        int64_t i64;
        double f64;
        const char *str;
        struct slice slice;
    } v;
};
enum { LOG_FIELD_SLICE = 100 };

#define F_U64(n, x) ((struct log_field){.name = (n), .type = RS_FIELD_U64, .v.u64 = (uint64_t)(x)})
#define F_I64(n, x) ((struct log_field){.name = (n), .type = RS_FIELD_I64, .v.i64 = (int64_t)(x)})
#define F_STR(n, x) ((struct log_field){.name = (n), .type = RS_FIELD_STR, .v.str = (x)})
#define F_SLICE(n, x) ((struct log_field){.name = (n), .type = LOG_FIELD_SLICE, .v.slice = (x)})
#define F_LSN(n, x) F_U64(n, x)

/* logging_init() - @fd is borrowed; @level RS_LOG_*; default before the call: stderr, info, pretty. */
void logging_init(int fd, int level, enum logging_format format);
void logging_set_level(int level);
extern int logging_level_; /* read by the macros only */
void logging_emit(int level, const char *message, const struct log_field *fields, size_t n);

#define LOG_AT_(lvl, msg, ...)                                                                                         \
    do {                                                                                                               \
        if ((lvl) <= __atomic_load_n(&logging_level_, __ATOMIC_RELAXED)) {                                             \
            const struct log_field lf_[] = {{0}, ##__VA_ARGS__};                                                       \
            logging_emit((lvl), (msg), lf_ + 1, sizeof lf_ / sizeof lf_[0] - 1);                                       \
        }                                                                                                              \
    } while (0)
#define LOG_ERROR(msg, ...) LOG_AT_(RS_LOG_ERROR, msg, ##__VA_ARGS__)
#define LOG_WARN(msg, ...) LOG_AT_(RS_LOG_WARN, msg, ##__VA_ARGS__)
#define LOG_INFO(msg, ...) LOG_AT_(RS_LOG_INFO, msg, ##__VA_ARGS__)
#define LOG_DEBUG(msg, ...) LOG_AT_(RS_LOG_DEBUG, msg, ##__VA_ARGS__)
#define LOG_TRACE(msg, ...) LOG_AT_(RS_LOG_TRACE, msg, ##__VA_ARGS__)
/* With a code and a struct err: adds code, text and native errno. */
#define LOG_ERROR_ERR(e, what, ...)                                                                                    \
    LOG_ERROR(what, F_STR("code", err_name((e)->code)), F_STR("error", (e)->msg), ##__VA_ARGS__)
#define LOG_WARN_ERR(e, what, ...)                                                                                     \
    LOG_WARN(what, F_STR("code", err_name((e)->code)), F_STR("error", (e)->msg), ##__VA_ARGS__)
