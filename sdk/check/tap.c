/* SPDX-License-Identifier: Apache-2.0 */
#include "tap.h"
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

struct tap *tap_new(void) {
    struct tap *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return t != MAP_FAILED ? t : NULL;
}

void tap_free(struct tap *t) {
    (void)munmap(t, sizeof(*t)); /* fails only for a wrong address */
}

bool tap_ok(struct tap *t, bool ok, const char *fmt, ...) {
    va_list ap;

    t->run++;
    t->failed += !ok;
    (void)printf("%s %u - ", ok ? "ok" : "not ok", t->run);
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)printf("\n");
    (void)fflush(stdout);
    return ok;
}

void tap_skip(struct tap *t, const char *what, const char *why) {
    t->run++;
    t->skipped++;
    (void)printf("ok %u - %s # SKIP %s\n", t->run, what, why);
    (void)fflush(stdout);
}

void tap_diag(const char *fmt, ...) {
    va_list ap;

    (void)printf("# ");
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)printf("\n");
    (void)fflush(stdout);
}

int tap_end(struct tap *t) {
    (void)printf("1..%u\n", t->run);
    (void)fflush(stdout);
    if (t->failed != 0)
        return 1;
    return t->run == t->skipped ? 77 : 0;
}
