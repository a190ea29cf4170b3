/* SPDX-License-Identifier: Apache-2.0 */
/* base/err.h : one error code set for the whole server, that of the plugin ABI, plus a message for people.
 *
 * Codes decide behaviour; messages are never parsed. A `struct err` is owned by the caller, usually on the stack, and
 * may be NULL wherever one is asked for. Functions return 0 or a count on success and a negative RS_E* on failure. */
#pragma once
#include <restate/plugin.h>

#define RS_WARN_UNUSED __attribute__((warn_unused_result))
#define RS_PRINTF(f, a) __attribute__((format(printf, f, a)))

struct err {
    int code;       /* RS_E*, negative; 0 when nothing failed */
    unsigned flags; /* RS_ERR_RETRYABLE, RS_ERR_STICKY */
    int native;     /* errno or the library's own code, 0 when there is none */
    char msg[240];  /* one sentence, NUL terminated */
};

/* err_set() - fill @e (may be NULL) and return @code. */
int err_set(struct err *e, int code, const char *fmt, ...) RS_PRINTF(3, 4);
/* err_wrap() - put "context: " before the message that is already there; returns @code. */
int err_wrap(struct err *e, int code, const char *fmt, ...) RS_PRINTF(3, 4);
/* err_errno() - map errno to a code, append its text; returns the code. */
int err_errno(struct err *e, const char *fmt, ...) RS_PRINTF(2, 3);
/* err_from_abi() - take over an error a plugin filled; returns @code. */
int err_from_abi(struct err *e, int code, const rs_error *src);
/* err_name() - "RS_EIO" for RS_EIO; "RS_E?" for what is unknown. Static string. */
const char *err_name(int code);
