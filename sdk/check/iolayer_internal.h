/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/check/iolayer_internal.h : the bookkeeping of the layer (ioimage.c) as used by the calls (iolayer.c). All
 * functions are called with the layer's lock held. */
#pragma once
#include "iolayer.h"
#include <stddef.h>
#include <sys/types.h>

enum { IO_PATH = 512, IO_FDS = 4096 };

struct io_change { /* not yet durable */
    struct io_change *next;
    bool truncate; /* to offset */
    uint64_t offset;
    size_t len;
    unsigned char data[];
};

struct io_file {
    struct io_file *next;
    unsigned char *durable;
    size_t len, cap;
    struct io_change *changes, **tail;
};

void io_image_init(void);
/* The file that has this name now, or NULL. */
struct io_file *io_lookup(const char *path);
/* A new file under this name; the name is not durable. */
struct io_file *io_create(const char *path);
/* Takes in an existing file as durable. */
void io_adopt(const char *path);
void io_written(struct io_file *f, uint64_t offset, const void *data, size_t len);
void io_truncated(struct io_file *f, uint64_t len);
void io_file_synced(struct io_file *f);
/* A sync failed: the system has forgotten what it could not write, and a later sync will not bring it back. */
void io_file_lost(struct io_file *f);
/* The newest change alone became durable (a file opened with O_DSYNC). */
void io_last_change_synced(struct io_file *f);
void io_dir_synced(const char *dir);
void io_renamed(const char *from, const char *to);
void io_linked(const char *from, const char *to);
void io_unlinked(const char *path);
/* Writes what a disk may hold after a power cut. */
void io_write_image(const char *root, const char *image_dir, uint64_t seed);
