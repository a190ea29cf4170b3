/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes from a client to the server's HTTP/1.x side. The first byte says in how large pieces they come and when answers
 * go. */
#include "fuzz_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    if (len > 1)
        fuzz_http_server("", 0, data[0], data + 1, len - 1);
    return 0;
}
