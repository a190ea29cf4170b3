/* SPDX-License-Identifier: Apache-2.0 */
/* Everything an author can include. */
#include <restate/plugin.h>
#include <restate/storage.h>
#include <restate/transport.h>
#include <restate/helper.h>
#include <restate/helper/store_dir.h>
