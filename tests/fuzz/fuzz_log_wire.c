/* SPDX-License-Identifier: Apache-2.0 */
/* What another node asks of the log-server, and what it answers: the first byte chooses which. */
#include <stdlib.h>
#include "log/log_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const enum ls_kind kinds[] = {LS_STORE, LS_SEAL, LS_INFO, LS_WAIT, LS_GET, LS_DIGEST, LS_TRIM};
    enum ls_kind kind = kinds[size ? data[0] % 7 : 0];
    struct slice in = size ? slice_of(data + 1, size - 1) : SLICE_NULL;
    struct bytes **records = NULL;
    struct ls_req *r;

    if (size && data[0] & 0x80) {
        struct ls_get get = {.h = {.kind = LS_GET}};
        struct ls_digest digest = {.h = {.kind = LS_DIGEST}};
        struct ls_reply reply;

        (void)log_wire_take_answer(&get.h, in, &reply, NULL);
        (void)log_wire_take_answer(&digest.h, in, &reply, NULL);
        ls_get_done(&get);
        free(digest.entries);
    } else if (log_wire_take_request(kind, in, &r, &records, NULL) == 0) {
        for (size_t i = 0; records && records[i]; i++)
            (void)bytes_unref(records[i]);
        free(records);
        free(r);
    }
    return 0;
}
