/* SPDX-License-Identifier: Apache-2.0 */
/* plugin/setup.h : from the configuration to plugin instances: which plugin carries which store and which scheme of
 * which section. */
#pragma once
#include "config/config.h"
#include "plugin/plugin.h"
#include "plugin/transports.h"

struct plugin_set {
    struct plugin_instance *store[STORE_KINDS];
    struct transports *fabric, *ingress, *admin, *invoker; /* owned by the set */
};

/* plugin_set_use() - plugin_use() for everything @config names: loads and checks, opens nothing. Afterwards
 * plugin_registry_init(). */
int plugin_set_use(struct plugin_registry *reg, const struct config *config, struct plugin_set *ret,
                   struct err *err) RS_WARN_UNUSED;
void plugin_set_done(struct plugin_set *set); /* before plugin_registry_free() */
