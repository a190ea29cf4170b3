/* SPDX-License-Identifier: Apache-2.0 */
/* Frames from a client to the server's HTTP/2 side, after preface and SETTINGS. */
#include "fuzz_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

    if (len > 1)
        fuzz_http_server(hello, sizeof hello - 1, data[0], data + 1, len - 1);
    return 0;
}
