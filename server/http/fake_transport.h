/* SPDX-License-Identifier: Apache-2.0 */
/* http/fake_transport.h : (tests) the transport in memory as HTTP takes it. */
#pragma once
#include "http/headers.h"
#include "plugin/fake_transport.h"

static inline struct http_transport fake_transport(struct fake_net *n) {
    return (struct http_transport){fake_transport_ops(), n};
}
