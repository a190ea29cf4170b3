/* SPDX-License-Identifier: Apache-2.0 */
/* Suite load: what the file exports, how it answers hosts of other versions, and that a life without work leaves
 * nothing behind. */
#include "check.h"
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Reads a whole file; for the symbol table, which dlopen() does not show. */
static unsigned char *slurp(const char *path, size_t *ret_len) {
    FILE *f = fopen(path, "re");
    unsigned char *p = NULL;
    long n;

    if (f == NULL)
        return NULL;
    if (fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) > 0 && fseek(f, 0, SEEK_SET) == 0 &&
        (p = malloc((size_t)n)) != NULL) {
        *ret_len = fread(p, 1, (size_t)n, f);
        if (*ret_len != (size_t)n) {
            free(p);
            p = NULL;
        }
    }
    (void)fclose(f);
    return p;
}

/* Counts exported symbols that are not the entry (sanitizers and the linker add some with reserved names). */
static int foreign_exports(const char *path, char *ret_name, size_t size) {
    size_t len = 0;
    unsigned char *file = slurp(path, &len);
    const ElfW(Ehdr) *eh = (const ElfW(Ehdr) *)file;
    int found = 0;

    if (file == NULL || len < sizeof(*eh) || memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0 ||
        eh->e_shoff + (size_t)eh->e_shnum * sizeof(ElfW(Shdr)) > len) {
        free(file);
        return -1;
    }
    const ElfW(Shdr) *sh = (const ElfW(Shdr) *)(file + eh->e_shoff);
    for (int i = 0; i < eh->e_shnum; i++) {
        if (sh[i].sh_type != SHT_DYNSYM || sh[i].sh_link >= eh->e_shnum || sh[i].sh_offset + sh[i].sh_size > len)
            continue;
        const ElfW(Sym) *sym = (const ElfW(Sym) *)(file + sh[i].sh_offset);
        const char *names = (const char *)(file + sh[sh[i].sh_link].sh_offset);
        for (size_t k = 0; k < sh[i].sh_size / sizeof(*sym); k++) {
            const char *name = names + sym[k].st_name;
            if (sym[k].st_shndx == SHN_UNDEF || name[0] == '\0' || name[0] == '_' ||
                ELF64_ST_BIND(sym[k].st_info) == STB_LOCAL || strcmp(name, "restate_plugin_v1") == 0)
                continue;
            (void)snprintf(ret_name, size, "%s", name);
            found++;
        }
    }
    free(file);
    return found;
}

static bool name_is_plain(const char *s) {
    size_t n = strlen(s);
    return n > 0 && n <= 64 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static void check_versions(struct check *c) {
    const rs_plugin *(*entry)(uint32_t, uint32_t);
    void *sym = dlsym(c->dl, "restate_plugin_v1");
    rs_error err = {.struct_size = sizeof(err)};
    const rs_host *newer = host_table_sized(c->host, sizeof(rs_host) + 256, 9);

    memcpy(&entry, &sym, sizeof(entry));
    (void)tap_ok(c->tap, entry(RS_ABI_MAJOR, 0) == c->original,
                 "load: the entry returns the same descriptor every time");
    (void)tap_ok(c->tap, entry(RS_ABI_MAJOR, 9) != NULL, "load: a host with a newer minor version is accepted");
    (void)tap_ok(c->tap, c->plugin.check(newer, c->config, &err) == 0, "load: check() works with a longer host table");
    (void)tap_ok(c->tap, c->plugin.check(host_table(c->host), c->config, NULL) == 0,
                 "load: check() works without an error to fill");
}

int suite_load(struct check *c) {
    char foreign[128] = "";
    const struct timespec pause = {.tv_nsec = 5000000};
    unsigned fds, threads;
    void *self;

    (void)tap_ok(c->tap, true, "load: the descriptor is complete");
    (void)tap_ok(c->tap, name_is_plain(c->plugin.name), "load: the name '%s' has only a-z, 0-9 and -", c->plugin.name);
    if (!tap_ok(c->tap, foreign_exports(c->file, foreign, sizeof(foreign)) == 0, "load: the entry is the only export"))
        tap_diag("also exported: %s", foreign);
    check_versions(c);

    for (int round = 0; round < 3; round++) { /* the first round may start what the library keeps for ever */
        fds = process_fds();
        threads = process_threads();
        self = check_init(c);
        if (self == NULL)
            return 0;
        if (!tap_ok(c->tap, check_fini(c, self), "load: init, stop, fini, round %d", round))
            return 0;
    }
    for (int i = 0; i < 400 && process_threads() > threads; i++)
        (void)nanosleep(&pause, NULL);
    (void)tap_ok(c->tap, process_fds() == fds, "load: no descriptor stays open after fini");
    (void)tap_ok(c->tap, process_threads() <= threads, "load: no thread stays after fini");
    (void)tap_ok(c->tap, host_mem_used(c->host) == 0, "load: all charged memory is given back");
    return 0;
}
