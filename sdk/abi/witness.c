/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/abi/witness.c : one function that takes a pointer to every ABI struct, so that abidw sees them all; a plugin
 * hands its table over as `const void *`, which hides it from such tools. */
#include <restate/plugin.h>
#include <restate/storage.h>
#include <restate/transport.h>

RS_EXPORT int restate_abi_witness(const rs_slice *, const rs_error *, const rs_field *, const rs_host *,
                                  const rs_plugin *, const rs_limits *, const rs_pin *, const rs_range *,
                                  const rs_store_open *, const rs_storage_ops *, const rs_conn_opts *,
                                  const rs_conn_events *, const rs_peer *, const rs_transport_ops *);

int restate_abi_witness(const rs_slice *a0, const rs_error *a1, const rs_field *a2, const rs_host *a3,
                        const rs_plugin *a4, const rs_limits *a5, const rs_pin *a6, const rs_range *a7,
                        const rs_store_open *a8, const rs_storage_ops *a9, const rs_conn_opts *a10,
                        const rs_conn_events *a11, const rs_peer *a12, const rs_transport_ops *a13) {
    return (a0 != NULL) + (a1 != NULL) + (a2 != NULL) + (a3 != NULL) + (a4 != NULL) + (a5 != NULL) + (a6 != NULL) +
           (a7 != NULL) + (a8 != NULL) + (a9 != NULL) + (a10 != NULL) + (a11 != NULL) + (a12 != NULL) + (a13 != NULL);
}
