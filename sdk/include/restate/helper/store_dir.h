/* SPDX-License-Identifier: Apache-2.0 */
/* restate/helper/store_dir.h : the directory of a store: made durably, marked once complete, locked against a second
 * user.
 *
 * Its source, sdk/helper/store_dir.c, is compiled into a storage plugin; not part of the ABI. The marker file
 * "restate-store" is written after a store was created completely and before the first write is accepted: where it
 * exists, absent data is corruption and never a reason to start empty; where it does not, leftovers are those of an
 * interrupted creation. */
#ifndef RESTATE_HELPER_STORE_DIR_H
#define RESTATE_HELPER_STORE_DIR_H

#include <restate/plugin.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes the last component of @dir when absent, and its entry in the parent durable. */
int rs_dir_make(const char *dir, rs_error *err);
/* fsync of a directory: its entries survive a power cut. Return: 0 or RS_EIO. */
int rs_dir_sync(const char *dir, rs_error *err);
/* Whether the marker is there. */
bool rs_marker_exists(const char *dir);
/* Writes the marker with @text durably; also makes durable all other entries of @dir. */
int rs_marker_make(const char *dir, const char *text, rs_error *err);
/* Takes the lock of @dir for one store handle, of this or another process; freed by close() of *ret_fd or the end of
 * the process. RS_EPERM: somebody has it. */
int rs_dir_lock(const char *dir, int *ret_fd, rs_error *err);
/* "<dir>/<name>" in buf. Return: 0 or RS_EINVAL when it does not fit. */
int rs_path_join(char *buf, size_t size, const char *dir, const char *name, rs_error *err);

#ifdef __cplusplus
}
#endif

#endif
