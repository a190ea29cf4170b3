/* SPDX-License-Identifier: Apache-2.0 */
/* Identifiers as text: one that is accepted is written again with the same characters. */
#include "base/util.h"
#include "proto/ids.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice in = slice_of(data, size);
    struct invocation_id id;
    struct awakeable_id awakeable;
    uint8_t ulid[ULID_BYTES];
    char text[64];

    if (invocation_id_parse(in, &id, NULL) == 0) {
        invocation_id_format(&id, text);
        ASSERT(slice_eq_str(in, text));
    }
    if (awakeable_id_parse(in, &awakeable, NULL) == 0) {
        awakeable_id_format(&awakeable, text);
        ASSERT(slice_has_prefix(in, slice_str(text))); /* padding may follow */
    }
    if (resource_id_parse(ID_DEPLOYMENT, in, ulid, NULL) == 0) {
        resource_id_format(ID_DEPLOYMENT, ulid, text);
        ASSERT(slice_eq_str(in, text));
    }
    return 0;
}
