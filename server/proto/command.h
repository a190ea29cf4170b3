/* SPDX-License-Identifier: Apache-2.0 */
/* proto/command.h : kinds of log records and the enums used inside command.def. Numbers are on disk: only ever add. */
#pragma once

enum command_kind {
    CMD_ANNOUNCE_LEADER = 1,
    CMD_VERSION_BARRIER = 2,
    CMD_PARTITION_DURABILITY = 3,
    CMD_PATCH_STATE = 4,
    CMD_TERMINATE = 5,
    CMD_PURGE_INVOCATION = 6,
    CMD_PURGE_JOURNAL = 7,
    CMD_INVOKE = 8,
    CMD_TRUNCATE_OUTBOX = 9,
    CMD_PROXY_THROUGH = 10, /* reserved */
    CMD_ATTACH = 11,
    CMD_RESUME = 12,
    CMD_RESTART = 13,
    CMD_INVOKER_EFFECT = 14,
    CMD_TIMER = 15,
    CMD_SCHEDULE_TIMER = 16, /* reserved */
    CMD_RESPONSE = 17,       /* also a "not ready" one (reference: 18) */
    CMD_SIGNAL = 19,
    CMD_PAUSE = 25,
    CMD_CHECKSUM = 64,
};

enum target_type {
    TARGET_SERVICE = 1,
    TARGET_OBJECT_EXCLUSIVE = 2,
    TARGET_OBJECT_SHARED = 3,
    TARGET_WORKFLOW_RUN = 4,
    TARGET_WORKFLOW_SHARED = 5,
};

enum source_type {
    SOURCE_INGRESS = 1,
    SOURCE_SUBSCRIPTION = 2,
    SOURCE_SERVICE = 3,
    SOURCE_RESTART = 4,
    SOURCE_INTERNAL = 5
};
enum terminate_flavor { TERMINATE_KILL = 1, TERMINATE_CANCEL = 2 };
enum timer_kind { TIMER_SLEEP = 1, TIMER_DELAYED_INVOKE = 3 };
enum patch_outcome { PATCH_KEEP = 0, PATCH_USE = 1, PATCH_NOT_FOUND = 2, PATCH_INCOMPATIBLE = 3 };
enum effect_kind {
    EFFECT_PINNED = 1,
    EFFECT_COMMAND = 2,
    EFFECT_RUN_COMPLETION = 3,
    EFFECT_SUSPENDED = 4,
    EFFECT_END = 5,
    EFFECT_FAILED = 6,
    EFFECT_PAUSED = 7,
    EFFECT_EVENT = 8,
};
enum event_type { EVENT_TRANSIENT_ERROR = 1, EVENT_PAUSED = 2, EVENT_SUSPENDED = 3 };
