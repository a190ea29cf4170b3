/* SPDX-License-Identifier: Apache-2.0 */
/* A log record from a disk or a peer. What is accepted is written again with the same bytes, apart from its checksum.
 */
#include "base/util.h"
#include "proto/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice in = slice_of(data, size);
    struct record_view v;
    struct bytes *again;

    (void)record_verify(in, NULL);
    if (size >= 8)
        (void)record_length(data);
    if (record_view(in, &v, NULL) < 0)
        return 0;
    (void)record_touches(&v.header, 1, 2);
    again = record_new(&v.header, v.payload);
    ASSERT(slice_eq(slice_from(bytes_slice(again), 4), slice_from(in, 4)));
    ASSERT(record_verify(bytes_slice(again), NULL) == 0);
    again = bytes_unref(again);
    return 0;
}
