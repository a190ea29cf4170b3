/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/check/iolayer.h : the layer between a plugin and the disk.
 *
 * This program defines open(), write(), fsync(), rename() and their relatives, so that a plugin loaded into it, and the
 * library behind the plugin, call these instead of the C library's. For files below a watched directory the layer knows
 * what is durable: what was written and synced, and which names were made durable by syncing their directory. It can
 *
 *   - end the process at a chosen event as a power cut would, leaving in another directory what a disk could then hold:
 *     everything durable, and any part of the rest (whole writes, torn writes, nothing);
 *   - let events fail with an error from a chosen one on.
 *
 * An event is a call that changes a file or a name, or a sync. Nothing is really synced, which makes it fast. Memory
 * that is mapped for writing is not seen. Process-wide state: meant for a forked child that runs one scenario. Any
 * thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum io_fault_kind { IO_FAULT_NONE, IO_FAULT_SYNC_EIO, IO_FAULT_WRITE_EIO, IO_FAULT_NO_SPACE };

/* Starts watching a directory (absolute path); what is in it now counts as durable. Once per process. */
bool io_watch(const char *dir);
uint64_t io_events(void);
/* At the event number `event` (0: the next): writes the image into image_dir and ends the process with exit code
 * `code`. */
void io_crash_at(uint64_t event, const char *image_dir, uint64_t seed, int code);
/* The same, at once. */
_Noreturn void io_crash_now(const char *image_dir, uint64_t seed, int code);
/* From event number `event` on, events of that kind fail; also statvfs() reports no space while IO_FAULT_NO_SPACE is
 * due. */
void io_fault(enum io_fault_kind kind, uint64_t event);
/* How many events failed because of io_fault(). */
uint64_t io_faults_seen(void);
