/* SPDX-License-Identifier: Apache-2.0 */
/* What is durable and what is not, for iolayer.c; and making up what a disk holds after a power cut.
 *
 * Names: changes of names are durable in order, up to the last one whose directory was synced; after a crash any
 * further prefix of them may have survived (as with a journalling file system). Contents: durable bytes, and of the
 * changes since the last sync of the file all, none, a prefix, or any 512-byte pieces. */
#include "iolayer_internal.h"
#include "model.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NAMES_MAX = 4096, SECTOR = 512 };

struct names {
    struct name {
        char path[IO_PATH];
        struct io_file *file;
    } * at;
    size_t n;
};

struct name_change {
    struct name_change *next;
    char path[IO_PATH];
    struct io_file *file; /* NULL: the name goes away */
    char path2[IO_PATH];  /* a rename also takes this name away, in the same step */
};

static struct {
    struct names live, durable;
    struct name_change *changes, **tail;
} image;

static void *must(void *p) {
    if (p == NULL)
        abort(); /* the kit itself does not survive without memory */
    return p;
}

void io_image_init(void) {
    image.live.at = must(calloc(NAMES_MAX, sizeof(struct name)));
    image.durable.at = must(calloc(NAMES_MAX, sizeof(struct name)));
    image.tail = &image.changes;
}

static struct name *names_find(struct names *s, const char *path) {
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->at[i].path, path) == 0)
            return &s->at[i];
    }
    return NULL;
}

static void names_set(struct names *s, const char *path, struct io_file *file) {
    struct name *n = names_find(s, path);

    if (file == NULL) {
        if (n != NULL)
            *n = s->at[--s->n];
        return;
    }
    if (n == NULL) {
        if (s->n == NAMES_MAX)
            abort(); /* far more files than a suite makes */
        n = &s->at[s->n++];
        (void)snprintf(n->path, sizeof(n->path), "%s", path);
    }
    n->file = file;
}

static void name_change(const char *path, struct io_file *file, const char *gone) {
    struct name_change *c = must(calloc(1, sizeof(*c)));

    (void)snprintf(c->path, sizeof(c->path), "%s", path);
    (void)snprintf(c->path2, sizeof(c->path2), "%s", gone != NULL ? gone : "");
    c->file = file;
    *image.tail = c;
    image.tail = &c->next;
    if (gone != NULL)
        names_set(&image.live, gone, NULL);
    names_set(&image.live, path, file);
}

static void name_change_apply(struct names *s, const struct name_change *c) {
    if (c->path2[0] != '\0')
        names_set(s, c->path2, NULL);
    names_set(s, c->path, c->file);
}

static struct io_file *file_new(void) {
    struct io_file *f = must(calloc(1, sizeof(*f)));
    f->tail = &f->changes;
    return f;
}

struct io_file *io_lookup(const char *path) {
    struct name *n = names_find(&image.live, path);
    return n != NULL ? n->file : NULL;
}

struct io_file *io_create(const char *path) {
    struct io_file *f = file_new();
    name_change(path, f, NULL);
    return f;
}

static void file_write(struct io_file *f, uint64_t offset, const void *data, size_t len) {
    size_t end = (size_t)offset + len;

    if (end > f->cap) {
        f->cap = end * 2;
        f->durable = must(realloc(f->durable, f->cap));
    }
    if (offset > f->len)
        memset(f->durable + f->len, 0, (size_t)offset - f->len);
    if (len != 0)
        memcpy(f->durable + offset, data, len);
    if (end > f->len)
        f->len = end;
}

static void file_truncate(struct io_file *f, uint64_t len) {
    if (len > f->len)
        file_write(f, len, "", 0);
    else
        f->len = (size_t)len;
}

void io_adopt(const char *path) {
    struct io_file *f = file_new();
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    unsigned char buf[65536];
    long n;

    if (fd >= 0) {
        while ((n = read((int)fd, buf, sizeof(buf))) > 0)
            file_write(f, f->len, buf, (size_t)n);
        (void)syscall(SYS_close, fd);
    }
    names_set(&image.live, path, f);
    names_set(&image.durable, path, f);
}

static void change_add(struct io_file *f, bool truncate, uint64_t offset, const void *data, size_t len) {
    struct io_change *c = must(malloc(sizeof(*c) + len));

    *c = (struct io_change){.truncate = truncate, .offset = offset, .len = len};
    if (len != 0)
        memcpy(c->data, data, len);
    *f->tail = c;
    f->tail = &c->next;
}

void io_written(struct io_file *f, uint64_t offset, const void *data, size_t len) {
    change_add(f, false, offset, data, len);
}
void io_truncated(struct io_file *f, uint64_t len) {
    change_add(f, true, len, NULL, 0);
}

static void change_apply(struct io_file *f, const struct io_change *c) {
    if (c->truncate)
        file_truncate(f, c->offset);
    else
        file_write(f, c->offset, c->data, c->len);
}

void io_file_synced(struct io_file *f) {
    for (struct io_change *c = f->changes, *next; c != NULL; c = next) {
        next = c->next;
        change_apply(f, c);
        free(c);
    }
    f->changes = NULL;
    f->tail = &f->changes;
}

void io_file_lost(struct io_file *f) {
    for (struct io_change *c = f->changes, *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    f->changes = NULL;
    f->tail = &f->changes;
}

void io_last_change_synced(struct io_file *f) {
    struct io_change **p = &f->changes;

    while (*p != NULL && (*p)->next != NULL)
        p = &(*p)->next;
    if (*p != NULL) {
        change_apply(f, *p);
        free(*p);
        *p = NULL;
        f->tail = p;
    }
}

static bool is_in_dir(const char *path, const char *dir) {
    const char *slash = strrchr(path, '/');
    size_t n = strlen(dir);
    return slash != NULL && (size_t)(slash - path) == n && strncmp(path, dir, n) == 0;
}

void io_dir_synced(const char *dir) {
    const struct name_change *last = NULL;

    for (const struct name_change *c = image.changes; c != NULL; c = c->next) {
        if (is_in_dir(c->path, dir) || (c->path2[0] != '\0' && is_in_dir(c->path2, dir)))
            last = c;
    }
    while (last != NULL) {
        struct name_change *c = image.changes;
        bool end = c == last;
        name_change_apply(&image.durable, c);
        image.changes = c->next;
        free(c);
        if (end)
            break;
    }
    if (image.changes == NULL)
        image.tail = &image.changes;
}

void io_renamed(const char *from, const char *to) {
    struct io_file *f = io_lookup(from);
    if (f != NULL) /* files made by means the layer does not see are not kept */
        name_change(to, f, from);
}

void io_linked(const char *from, const char *to) {
    struct io_file *f = io_lookup(from);
    if (f != NULL)
        name_change(to, f, NULL);
}

void io_unlinked(const char *path) {
    if (io_lookup(path) != NULL)
        name_change(path, NULL, NULL);
}

/* ---- the image ---- */

static void apply_some(struct io_file *f, struct rng *rng) {
    enum { NONE, ALL, PREFIX, PIECES } mode = (int)rng_below(rng, 4);
    uint64_t n = 0, keep;
    bool stopped = false; /* the file grows no more */

    for (const struct io_change *c = f->changes; c != NULL; c = c->next)
        n++;
    keep = mode == NONE ? 0 : mode == PREFIX ? rng_below(rng, n + 1) : n;
    for (const struct io_change *c = f->changes; c != NULL && keep > 0; c = c->next, keep--) {
        if (mode != PIECES) {
            change_apply(f, c);
            continue;
        }
        if (c->truncate && rng_below(rng, 2) == 0)
            change_apply(f, c);
        for (size_t at = 0, piece; !c->truncate && at < c->len; at += piece) {
            piece = SECTOR - (size_t)((c->offset + at) % SECTOR);
            if (piece > c->len - at)
                piece = c->len - at;
            bool kept = rng_below(rng, 2) == 0, grows = c->offset + at + piece > f->len;
            if (kept && !(grows && stopped))
                file_write(f, c->offset + at, c->data + at, piece);
            stopped |= grows && !kept;
        }
    }
}

static void write_out(const char *path, const struct io_file *f) {
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    for (size_t at = 0; fd >= 0 && at < f->len;) {
        long n = syscall(SYS_write, fd, f->durable + at, f->len - at);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    if (fd >= 0)
        (void)syscall(SYS_close, fd);
}

static void make_parents(char *path) {
    for (char *p = path + 1; *p != '\0'; p++) {
        if (*p == '/') {
            *p = '\0';
            (void)syscall(SYS_mkdirat, AT_FDCWD, path, 0700); /* mostly there already */
            *p = '/';
        }
    }
}

void io_write_image(const char *root, const char *image_dir, uint64_t seed) {
    struct rng rng = {seed};
    uint64_t n = 0, keep;
    size_t root_len = strlen(root);
    char path[2 * IO_PATH];

    for (const struct name_change *c = image.changes; c != NULL; c = c->next)
        n++;
    keep = rng_below(&rng, 3) == 0 ? 0 : rng_below(&rng, n + 1);
    for (const struct name_change *c = image.changes; c != NULL && keep > 0; c = c->next, keep--)
        name_change_apply(&image.durable, c);
    (void)syscall(SYS_mkdirat, AT_FDCWD, image_dir, 0700); /* may be there */
    for (size_t i = 0; i < image.durable.n; i++) {
        struct io_file *f = image.durable.at[i].file;
        apply_some(f, &rng);
        io_file_lost(f); /* a file with two names is made up once */
        (void)snprintf(path, sizeof(path), "%s%s", image_dir, image.durable.at[i].path + root_len);
        make_parents(path);
        write_out(path, f);
    }
}
