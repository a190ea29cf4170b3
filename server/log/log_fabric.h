/* SPDX-License-Identifier: Apache-2.0 */
/* log/log_fabric.h : the log layer over the node fabric: requests to the log-servers of other nodes (struct log_peers),
 * and this node's log-server for others (SERVICE_LOG_SERVER_DATA, SERVICE_LOG_SERVER_META). One loop. */
#pragma once
#include "log/log_peers.h"
#include "net/fabric.h"

enum log_fabric_message { /* numbers on the wire: only add */
                          LOG_STORE = 1,
                          LOG_GET = 2,
                          LOG_SEAL = 3,
                          LOG_INFO_TAIL = 4,
                          LOG_WAIT = 5,
                          LOG_DIGEST = 6,
                          LOG_TRIM = 7,
                          LOG_RELEASE = 8, /* one way */
};

struct log_fabric;
/* @server NULL: the role is off, nothing is served. */
struct log_fabric *log_fabric_new(struct fabric *f, struct loop *loop, struct log_server *server);
struct log_peers *log_fabric_peers(struct log_fabric *lf);
/* log_fabric_stop() - serves no more; before log_server_close(). */
void log_fabric_stop(struct log_fabric *lf);
/* log_fabric_free() - requests on their way are answered LS_UNKNOWN inside. After log_node_close() and after the
 * log-server is closed. NULL. */
struct log_fabric *log_fabric_free(struct log_fabric *lf);
