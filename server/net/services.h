/* SPDX-License-Identifier: Apache-2.0 */
/* net/services.h : numbers of the fabric's services and of their messages (spec cluster.md §5.2, §21). Numbers are
 * never reused. A request and its answer share a number. */
#pragma once

enum fabric_service_id {
    SERVICE_LOG_SERVER_DATA = 26,
    SERVICE_LOG_SERVER_META = 27,
    SERVICE_SEQUENCER_DATA = 44, /* reserved: appends by others than the leader */
    SERVICE_SEQUENCER_META = 45,
    SERVICE_PARTITION_MANAGER = 54,
    SERVICE_PARTITION_LEADER = 55,
    SERVICE_GOSSIP = 62,
    SERVICE_REMOTE_SCAN = 86,
    SERVICE_METADATA_MANAGER = 100,
    SERVICE_NODE_CTL = 110,
    SERVICE_CLUSTER_CTRL = 111,
    SERVICE_METADATA_PROXY = 112,
    SERVICE_METADATA_SERVER = 120,
    SERVICE_METADATA_RAFT = 121,
};
