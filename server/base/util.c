/* SPDX-License-Identifier: Apache-2.0 */
#include "base/util.h"

#include <execinfo.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void assert_failed(const char *what, const char *file, int line, const char *func) {
    void *frames[64];
    int n = backtrace(frames, 64);

    (void)fprintf(stderr, "assertion failed: %s\n  at %s:%d in %s\n", what, file, line, func);
    (void)fflush(stderr);
    backtrace_symbols_fd(frames, n, STDERR_FILENO);
    abort();
}

static void *checked(void *p) {
    if (!p) {
        static const char msg[] = "out of memory\n";
        (void)!write(STDERR_FILENO, msg, sizeof msg - 1);
        abort();
    }
    return p;
}

void *xcalloc(size_t n, size_t size) {
    return checked(calloc(n, size));
}
void *xmalloc(size_t size) {
    return checked(malloc(size ? size : 1));
}
void *xrealloc(void *p, size_t size) {
    return checked(realloc(p, size ? size : 1));
}
char *xstrdup(const char *s) {
    return checked(strdup(s));
}

char *xstrndup(const void *s, size_t n) {
    char *p = xmalloc(n + 1);

    if (n)
        memcpy(p, s, n);
    p[n] = 0;
    return p;
}
