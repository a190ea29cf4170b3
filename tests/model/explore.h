/* SPDX-License-Identifier: Apache-2.0 */
/* Explicit-state search for the small models in this folder: every state that can be reached, breadth first, so that
 * the trace to a violation is a shortest one. A state is a fixed number of bytes; equal bytes are the same state. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct explore {
    size_t state_bytes;
    uint8_t *states;   /* one after the other, in the order in which they were found */
    uint32_t *parents; /* index of the state before; of the first one: itself */
    char (*labels)[40];
    size_t n, cap;
    uint32_t *slots; /* hash table of indexes + 1 */
    size_t mask;
    size_t at;           /* state being expanded */
    char violation[160]; /* "" none */
    size_t violated;     /* state that shows it */
    bool keep_labels;
    void (*canonical)(void *state);
    void *scratch; /* one state */
};

struct model {
    const char *name;
    size_t state_bytes;
    void (*first)(void *state, unsigned mutant);
    /* Calls explore_add() for every state that @state can become. */
    void (*next)(struct explore *x, const void *state, unsigned mutant);
    /* Calls explore_violation() when @state must not be. */
    void (*check)(struct explore *x, const void *state, unsigned mutant);
    /* Bring states that differ in names only to one form; NULL: none are alike. Not used when a trace is wanted. */
    void (*canonical)(void *state);
    const char *const *mutants; /* [0] is the true rule; NULL ends */
};

static inline uint64_t explore_hash(const uint8_t *p, size_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u;

    for (; n >= 8; p += 8, n -= 8) {
        uint64_t w;

        memcpy(&w, p, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    for (; n; p++, n--)
        h = (h ^ *p) * 0xc4ceb9fe1a85ec53u;
    h ^= h >> 29;
    return h * 0x94d049bb133111ebu >> 1;
}

static inline void *explore_alloc(void *p, size_t n) {
    p = realloc(p, n);
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    return p;
}

static inline void explore_rehash(struct explore *x, size_t slots) {
    x->mask = slots - 1;
    free(x->slots);
    x->slots = calloc(slots, sizeof *x->slots);
    if (!x->slots)
        exit(2);
    for (size_t i = 0; i < x->n; i++) {
        size_t k = explore_hash(x->states + i * x->state_bytes, x->state_bytes) & x->mask;

        while (x->slots[k])
            k = (k + 1) & x->mask;
        x->slots[k] = (uint32_t)i + 1;
    }
}

__attribute__((format(printf, 3, 4))) static inline void explore_add(struct explore *x, const void *state,
                                                                     const char *fmt, ...) {
    va_list ap;
    size_t k;

    if (x->canonical) {
        memcpy(x->scratch, state, x->state_bytes);
        x->canonical(x->scratch);
        state = x->scratch;
    }
    k = explore_hash(state, x->state_bytes) & x->mask;

    for (; x->slots[k]; k = (k + 1) & x->mask)
        if (memcmp(x->states + (x->slots[k] - 1) * x->state_bytes, state, x->state_bytes) == 0)
            return;
    if (x->n == x->cap) {
        x->cap = x->cap ? x->cap * 2 : 1 << 12;
        x->states = explore_alloc(x->states, x->cap * x->state_bytes);
        x->parents = explore_alloc(x->parents, x->cap * sizeof *x->parents);
        if (x->keep_labels)
            x->labels = explore_alloc(x->labels, x->cap * sizeof *x->labels);
    }
    memcpy(x->states + x->n * x->state_bytes, state, x->state_bytes);
    x->parents[x->n] = (uint32_t)x->at;
    if (x->keep_labels) {
        va_start(ap, fmt);
        (void)vsnprintf(x->labels[x->n], sizeof *x->labels, fmt, ap);
        va_end(ap);
    }
    x->n++;
    x->slots[k] = (uint32_t)x->n;
    if (x->n * 2 > x->mask)
        explore_rehash(x, (x->mask + 1) * 2);
}

__attribute__((format(printf, 2, 3))) static inline void explore_violation(struct explore *x, const char *fmt, ...) {
    va_list ap;

    if (x->violation[0])
        return;
    va_start(ap, fmt);
    (void)vsnprintf(x->violation, sizeof x->violation, fmt, ap);
    va_end(ap);
    x->violated = x->at;
}

static inline void explore_trace(const struct explore *x, size_t i) {
    if (x->parents[i] != i)
        explore_trace(x, x->parents[i]);
    printf("    %s\n", x->labels[i]);
}

static inline size_t explore_depth(const struct explore *x, size_t i) {
    size_t n = 0;

    for (; x->parents[i] != i; i = x->parents[i])
        n++;
    return n;
}

/* Returns whether the rule behaves as it should: the true one without a violation, a mutant with one. */
static inline bool explore_run(const struct model *m, unsigned mutant, bool trace) {
    struct explore x = {.state_bytes = m->state_bytes, .keep_labels = trace, .canonical = trace ? NULL : m->canonical};
    uint8_t *state = calloc(1, m->state_bytes);
    clock_t start = clock();
    bool found;

    x.scratch = calloc(1, m->state_bytes);
    if (!state || !x.scratch)
        exit(2);
    explore_rehash(&x, 1 << 14);
    m->first(state, mutant);
    explore_add(&x, state, "start");
    for (x.at = 0; x.at < x.n && !x.violation[0]; x.at++) {
        memcpy(state, x.states + x.at * x.state_bytes, x.state_bytes);
        m->check(&x, state, mutant);
        if (!x.violation[0])
            m->next(&x, state, mutant);
    }
    found = x.violation[0];
    printf("%-4s %s, %s: %zu states, %.1f s%s%s", found == (mutant > 0) ? "ok" : "FAIL", m->name, m->mutants[mutant],
           x.n, (double)(clock() - start) / CLOCKS_PER_SEC, found ? "; after " : "\n", "");
    if (found)
        printf("%zu steps: %s\n", explore_depth(&x, x.violated), x.violation);
    if (found && trace)
        explore_trace(&x, x.violated);
    free(state);
    free(x.scratch);
    free(x.states);
    free(x.parents);
    free(x.labels);
    free(x.slots);
    return found == (mutant > 0);
}

/* usage: model [MUTANT]: with a name, only that rule, and the trace to its violation. */
static inline int explore_main(const struct model *m, int argc, char **argv) {
    bool ok = true, any = false;

    for (unsigned i = 0; m->mutants[i]; i++) {
        if (argc > 1 && strcmp(argv[1], m->mutants[i]) != 0)
            continue;
        any = true;
        ok = explore_run(m, i, argc > 1) && ok;
        (void)fflush(stdout);
    }
    if (!any)
        printf("no such rule\n");
    return ok && any ? 0 : 1;
}
