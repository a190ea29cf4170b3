/* SPDX-License-Identifier: Apache-2.0 */
/* From a name to a loaded file. Keeps accidents and planted files out; a plugin itself is trusted code. */
#include "plugin/plugin_internal.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/text.h"

#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef const rs_plugin *(*entry_fn)(uint32_t host_major, uint32_t host_minor);

bool plugin_name_ok(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return n > 0 && n <= 64 && name[n] == 0;
}

/* @sticky_ok: a directory like /tmp, where others may write but not replace what is ours. */
static int check_owner(const char *path, const struct stat *st, bool sticky_ok, struct err *err) {
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return err_set(err, RS_EPERM, "%.180s: it belongs to user %u, not to root or to this server's user", path,
                       (unsigned)st->st_uid);
    if ((st->st_mode & (S_IWGRP | S_IWOTH)) && !(sticky_ok && (st->st_mode & S_ISVTX)))
        return err_set(err, RS_EPERM, "%.180s: its group or others may write to it", path);
    return 0;
}

static int check_dirs(const char *dir, struct err *err) {
    char path[PATH_MAX];
    struct stat st;
    bool first = true;

    if ((size_t)snprintf(path, sizeof path, "%s", dir) >= sizeof path)
        return err_set(err, RS_EINVAL, "the plugin directory's name is too long");
    for (;;) {
        char *slash;
        int r;

        if (stat(path[0] ? path : "/", &st) < 0)
            return err_errno(err, "%.180s: cannot look at it", path);
        if (!S_ISDIR(st.st_mode))
            return err_set(err, RS_EINVAL, "%.180s: this is not a directory", path);
        r = check_owner(path[0] ? path : "/", &st, !first, err);
        if (r < 0 || !path[0])
            return r;
        slash = strrchr(path, '/');
        if (!slash)
            return 0;
        *slash = 0;
        first = false;
    }
}

int plugin_file_check(const char *dir, const char *file, struct err *err) {
    char real_dir[PATH_MAX], real_file[PATH_MAX];
    struct stat st;
    size_t n;
    int r;

    if (dir[0] != '/')
        return err_set(err, RS_EINVAL, "%.180s: the plugin directory must be an absolute path", dir);
    if (!realpath(dir, real_dir))
        return err_errno(err, "%.180s: there is no such plugin directory", dir);
    if (!realpath(file, real_file))
        return err_errno(err, "%.180s: cannot load the plugin", file);
    n = strlen(real_dir);
    if (strncmp(real_file, real_dir, n) != 0 || real_file[n] != '/' || strchr(real_file + n + 1, '/'))
        return err_set(err, RS_EPERM, "%.180s: it is a link to a file outside of the plugin directory", file);
    if (stat(real_file, &st) < 0)
        return err_errno(err, "%.180s: cannot look at it", file);
    if (!S_ISREG(st.st_mode))
        return err_set(err, RS_EINVAL, "%.180s: this is not a regular file", file);
    r = check_owner(file, &st, false, err);
    return r < 0 ? r : check_dirs(real_dir, err);
}

static int digest(const char *path, char ret[65], struct err *err) {
    _cleanup_buf_ struct buf hex = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    uint8_t sum[32];
    void *p;

    if (fd < 0 || fstat(fd, &st) < 0) {
        int r = err_errno(err, "%.180s: cannot read it", path);

        if (fd >= 0)
            (void)close(fd);
        return r;
    }
    p = st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    (void)close(fd);
    if (p == MAP_FAILED)
        return err_set(err, RS_EINVAL, "%.180s: the file is empty or cannot be read", path);
    {
        struct slice part = slice_of(p, (size_t)st.st_size);

        sha256(&part, 1, sum);
    }
    (void)munmap(p, (size_t)st.st_size);
    text_put_hex(&hex, slice_of(sum, sizeof sum));
    (void)snprintf(ret, 65, "%s", buf_cstr(&hex));
    return 0;
}

struct wanted_id {
    const char *path;
    char *ret;
};

static int find_build_id(struct dl_phdr_info *info, size_t size, void *arg) {
    const struct wanted_id *want = arg;

    if (!info->dlpi_name || strcmp(info->dlpi_name, want->path) != 0)
        return 0;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const uint8_t *p = (const uint8_t *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        size_t left = info->dlpi_phdr[i].p_memsz;

        if (info->dlpi_phdr[i].p_type != PT_NOTE)
            continue;
        while (left >= sizeof(ElfW(Nhdr))) {
            ElfW(Nhdr) h;
            size_t name, desc;

            memcpy(&h, p, sizeof h);
            name = (h.n_namesz + 3u) & ~3u;
            desc = (h.n_descsz + 3u) & ~3u;
            if (left < sizeof h + name + desc)
                break;
            if (h.n_type == NT_GNU_BUILD_ID && h.n_namesz == 4 && h.n_descsz <= 32 &&
                memcmp(p + sizeof h, "GNU", 4) == 0) {
                _cleanup_buf_ struct buf hex = {0};

                text_put_hex(&hex, slice_of(p + sizeof h + name, h.n_descsz));
                (void)snprintf(want->ret, 65, "%s", buf_cstr(&hex));
                return 1;
            }
            p += sizeof h + name + desc;
            left -= sizeof h + name + desc;
        }
    }
    return 1;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "; there are lmdb, rocksdb": what could have been meant. */
static void put_others(struct buf *b, const char *dir, int kind) {
    char prefix[24], *names[16];
    struct dirent *e;
    DIR *d = opendir(dir);
    size_t n = 0, len;

    if (!d)
        return;
    (void)snprintf(prefix, sizeof prefix, "%s-", plugin_kind_name(kind));
    len = strlen(prefix);
    while (n < ARRAY_SIZE(names) && (e = readdir(d))) {
        size_t all = strlen(e->d_name);

        if (all > len + 3 && strncmp(e->d_name, prefix, len) == 0 && strcmp(e->d_name + all - 3, ".so") == 0)
            names[n++] = xstrndup(e->d_name + len, all - len - 3);
    }
    (void)closedir(d);
    qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++) {
        buf_putf(b, "%s%s", i ? ", " : "; there are ", names[i]);
        free(names[i]);
    }
}

static int no_such_plugin(const char *dir, int kind, const char *name, struct err *err) {
    _cleanup_buf_ struct buf others = {0};

    put_others(&others, dir, kind);
    return err_set(err, RS_ENOENT, "there is no %s plugin \"%s\" in %.100s%.80s", plugin_kind_name(kind), name, dir,
                   buf_cstr(&others));
}

int plugin_open(const char *dir, int kind, const char *name, uint64_t host_features, struct plugin *ret,
                struct err *err) {
    char path[PATH_MAX];
    entry_fn entry;
    int r;

    if (!plugin_name_ok(name))
        return err_set(err, RS_EINVAL,
                       "\"%.80s\" is not the name of a plugin: a-z, 0-9 and '-' are allowed, not a path", name);
    if (!dir)
        return err_set(err, RS_ENOENT, "there is no %s plugin \"%s\" and no plugin directory is configured",
                       plugin_kind_name(kind), name);
    if ((size_t)snprintf(path, sizeof path, "%s/%s-%s.so", dir, plugin_kind_name(kind), name) >= sizeof path)
        return err_set(err, RS_EINVAL, "the plugin directory's name is too long");
    if (access(path, F_OK) < 0 && errno == ENOENT && access(dir, F_OK) == 0)
        return no_such_plugin(dir, kind, name, err);
    r = plugin_file_check(dir, path, err);
    if (r == 0)
        r = digest(path, ret->info.sha256, err);
    if (r < 0)
        return r;
    ret->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!ret->handle) {
        const char *why = dlerror();

        return err_set(err, RS_EINVAL, "%.100s: cannot load the plugin: %s", path, why ? why : "no reason given");
    }
    *(void **)&entry = dlsym(ret->handle, "restate_plugin_v1");
    if (!entry)
        return err_set(err, RS_EUNSUPPORTED, "%.150s: it does not export restate_plugin_v1", path);
    r = plugin_accept(entry(RS_ABI_MAJOR, 0), kind, name, path, host_features, ret, err);
    if (r < 0)
        return r;
    ret->path = xstrdup(path);
    ret->info.path = ret->path;
    (void)dl_iterate_phdr(find_build_id, &(struct wanted_id){.path = path, .ret = ret->info.build_id});
    return 0;
}
