/* SPDX-License-Identifier: Apache-2.0 */
/* control/log_ctrl.h : what operators do to logs, a part of SERVICE_CLUSTER_CTRL: find the tail, trim, seal.
 *
 * One loop. */
#pragma once
#include "net/fabric.h"

struct ctl_request;
struct log_ctrl;
struct log_node;
struct meta;
struct log_ctrl *log_ctrl_new(struct loop *loop, struct fabric *f, struct meta *m, struct log_node *n);
/* log_ctrl_free() - questions that wait are answered that the service stopped; before log_node_close(). NULL. */
struct log_ctrl *log_ctrl_free(struct log_ctrl *c);
/* log_ctrl_handle() - one of CLUSTER_FIND_TAIL, _TRIM, _DESCRIBE, _SEAL; answers @take. */
void log_ctrl_handle(struct log_ctrl *c, struct fabric_request *take, const struct ctl_request *m);
