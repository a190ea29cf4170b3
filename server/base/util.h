/* SPDX-License-Identifier: Apache-2.0 */
/* base/util.h : small macros everybody uses: asserts, cleanup, sizes, allocation that cannot fail. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
/* TAKE(p) - the value of @p, which becomes NULL: ownership moves. */
#define TAKE(p)                                                                                                        \
    ({                                                                                                                 \
        __typeof__(p) take_tmp_ = (p);                                                                                 \
        (p) = NULL;                                                                                                    \
        take_tmp_;                                                                                                     \
    })
/* DEFINE_CLEANUP(buf, buf_free) makes buf_freep() for _cleanup_. */
#define DEFINE_CLEANUP(name, fn)                                                                                       \
    static inline void name##_freep(struct name **p) {                                                                 \
        if (*p)                                                                                                        \
            (void)fn(*p);                                                                                              \
    }

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))
#define MIN(a, b)                                                                                                      \
    ({                                                                                                                 \
        __typeof__(a) min_a_ = (a);                                                                                    \
        __typeof__(b) min_b_ = (b);                                                                                    \
        min_a_ < min_b_ ? min_a_ : min_b_;                                                                             \
    })
#define MAX(a, b)                                                                                                      \
    ({                                                                                                                 \
        __typeof__(a) max_a_ = (a);                                                                                    \
        __typeof__(b) max_b_ = (b);                                                                                    \
        max_a_ > max_b_ ? max_a_ : max_b_;                                                                             \
    })
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ASSERT() stays on in release builds: cheap, for errors of the programmer, never for bytes from outside. */
#define ASSERT(x) (LIKELY(x) ? (void)0 : assert_failed(#x, __FILE__, __LINE__, __func__))
#define UNREACHABLE(why) assert_failed("unreachable: " why, __FILE__, __LINE__, __func__)
#ifdef NDEBUG
#define ASSERT_SLOW(x) ((void)0)
#else
#define ASSERT_SLOW(x) ASSERT(x)
#endif

/* Prints the condition, its place and a backtrace to stderr, then aborts. */
void assert_failed(const char *what, const char *file, int line, const char *func) __attribute__((noreturn, cold));

/* xnew()/xmalloc() - for small allocations of fixed size: zeroed (xmalloc: not), abort when memory is out. What is
 * sized by input, a peer or a user goes through functions that return RS_ENOMEM instead. */
void *xcalloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
void *xmalloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *xrealloc(void *p, size_t size) __attribute__((alloc_size(2), returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const void *s, size_t n) __attribute__((malloc, returns_nonnull)); /* exactly @n bytes and a NUL */
#define xnew(type) ((type *)xcalloc(1, sizeof(type)))
#define xnewn(type, n) ((type *)xcalloc((n), sizeof(type)))
