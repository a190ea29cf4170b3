/* SPDX-License-Identifier: Apache-2.0 */
/* query/tables.c : the tables of /query: names, columns, types, in the order of the official server (spec sql.md §2).
 */
#include "query/query_internal.h"

static const struct {
    const char *decl; /* has the affinity that SQLite reads from it */
    const char *arrow;
} types[] = {
    [COL_TEXT] = {"TEXT", "LargeUtf8"},
    [COL_BLOB] = {"BLOB", "LargeBinary"},
    [COL_BOOL] = {"BOOLEAN", "Boolean"},
    [COL_U32] = {"UINT32", "UInt32"},
    [COL_U64] = {"UINT64", "UInt64"},
    [COL_TS] = {"TIMESTAMP_TEXT", "Timestamp(Millisecond, Some(\"+00:00\"))"},
    [COL_DUR] = {"DURATION_INT", "Duration(Millisecond)"},
    [COL_LIST] = {"LIST_TEXT", "List"},
    [COL_I64] = {"INT64", "Int64"},
    [COL_F64] = {"REAL", "Float64"},
};

const char *column_type_decl(enum column_type t) {
    return types[t].decl;
}

bool column_type_of_decl(const char *decl, enum column_type *ret) {
    for (size_t i = 0; decl && i < ARRAY_SIZE(types); i++)
        if (strcmp(decl, types[i].decl) == 0) {
            *ret = (enum column_type)i;
            return true;
        }
    return false;
}

#define STATE_FAILURE_COLUMNS                                                                                          \
    {"last_failure", COL_TEXT, S_LAST_FAILURE}, {                                                                      \
        "last_failure_error_code", COL_TEXT, S_LAST_CODE                                                               \
    }
#define STATE_COMMAND_COLUMNS                                                                                          \
    {"last_failure_related_command_index", COL_U64, S_LAST_INDEX},                                                     \
        {"last_failure_related_command_name", COL_TEXT, S_LAST_NAME}, {                                                \
        "last_failure_related_command_type", COL_TEXT, S_LAST_TYPE                                                     \
    }
#define STATE_ENTRY_COLUMNS                                                                                            \
    {"last_failure_related_entry_index", COL_U64, S_LAST_INDEX},                                                       \
        {"last_failure_related_entry_name", COL_TEXT, S_LAST_NAME}, {                                                  \
        "last_failure_related_entry_type", COL_TEXT, S_LAST_TYPE                                                       \
    }
#define STATUS_COLUMNS                                                                                                 \
    {"target", COL_TEXT, S_TARGET}, {"target_service_name", COL_TEXT, S_SERVICE},                                      \
        {"target_service_key", COL_TEXT, S_KEY}, {"target_handler_name", COL_TEXT, S_HANDLER},                         \
        {"target_service_ty", COL_TEXT, S_TYPE}, {"scope", COL_TEXT, S_SCOPE}, {"limit_key", COL_TEXT, S_LIMIT_KEY},   \
        {"idempotency_key", COL_TEXT, S_IDEMPOTENCY}, {"invoked_by", COL_TEXT, S_BY},                                  \
        {"invoked_by_service_name", COL_TEXT, S_BY_SERVICE}, {"invoked_by_id", COL_TEXT, S_BY_ID},                     \
        {"invoked_by_subscription_id", COL_TEXT, S_BY_SUBSCRIPTION}, {"invoked_by_target", COL_TEXT, S_BY_TARGET},     \
        {"restarted_from", COL_TEXT, S_RESTARTED}, {"pinned_deployment_id", COL_TEXT, S_DEPLOYMENT},                   \
        {"pinned_service_protocol_version", COL_U32, S_PROTOCOL}, {"trace_id", COL_TEXT, S_TRACE},                     \
        {"journal_size", COL_U32, S_JOURNAL_SIZE}, {"journal_commands_size", COL_U32, S_COMMANDS},                     \
        {"created_at", COL_TS, S_CREATED}, {"created_using_restate_version", COL_TEXT, S_VERSION},                     \
        {"modified_at", COL_TS, S_MODIFIED}, {"inboxed_at", COL_TS, S_INBOXED}, {"scheduled_at", COL_TS, S_SCHEDULED}, \
        {"scheduled_start_at", COL_TS, S_START}, {"running_at", COL_TS, S_RUNNING},                                    \
        {"completed_at", COL_TS, S_COMPLETED}, {"completion_retention", COL_DUR, S_RETENTION},                         \
        {"journal_retention", COL_DUR, S_JOURNAL_RETENTION},                                                           \
        {"suspended_waiting_for_completions", COL_LIST, S_WAIT_COMPLETIONS},                                           \
        {"suspended_waiting_for_signals", COL_LIST, S_WAIT_SIGNALS}, {                                                 \
        "suspended_waiting_future_json", COL_TEXT, S_WAIT_FUTURE                                                       \
    }

static const struct column status_columns[] = {
    {"partition_key", COL_U64, S_PK},
    {"id", COL_TEXT, S_ID},
    {"vqueue_id", COL_TEXT, S_NULL},
    {"status", COL_TEXT, S_STORED_STATUS},
    {"completion_result", COL_TEXT, S_RESULT},
    {"completion_failure", COL_TEXT, S_FAILURE},
    STATUS_COLUMNS,
};
static const struct column invocation_columns[] = {
    {"id", COL_TEXT, S_ID},
    {"vqueue_id", COL_TEXT, S_NULL},
    STATUS_COLUMNS,
    {"retry_count", COL_U64, S_RETRY_COUNT},
    {"last_start_at", COL_TS, S_LAST_START},
    {"next_retry_at", COL_TS, S_NEXT_RETRY},
    {"last_attempt_deployment_id", COL_TEXT, S_LAST_DEPLOYMENT},
    {"last_attempt_server", COL_TEXT, S_LAST_SERVER},
    STATE_FAILURE_COLUMNS,
    STATE_ENTRY_COLUMNS,
    STATE_COMMAND_COLUMNS,
    {"last_awaiting_on_future_json", COL_TEXT, S_AWAITING},
    {"status", COL_TEXT, S_STATUS},
    {"completion_result", COL_TEXT, S_RESULT},
    {"completion_failure", COL_TEXT, S_FAILURE},
};
static const struct column attempt_columns[] = {
    {"partition_key", COL_U64, S_PK},
    {"id", COL_TEXT, S_ID},
    {"in_flight", COL_BOOL, S_IN_FLIGHT},
    {"retry_count", COL_U64, S_RETRY_COUNT},
    {"last_start_at", COL_TS, S_LAST_START},
    {"last_attempt_deployment_id", COL_TEXT, S_LAST_DEPLOYMENT},
    {"last_attempt_server", COL_TEXT, S_LAST_SERVER},
    {"next_retry_at", COL_TS, S_NEXT_RETRY},
    STATE_FAILURE_COLUMNS,
    STATE_COMMAND_COLUMNS,
    STATE_ENTRY_COLUMNS,
    {"last_awaiting_on_future_json", COL_TEXT, S_AWAITING},
};
static const struct column idempotency_columns[] = {
    {"partition_key", COL_U64, 0},    {"service_name", COL_TEXT, 1},    {"service_key", COL_TEXT, 2},
    {"service_handler", COL_TEXT, 3}, {"idempotency_key", COL_TEXT, 4}, {"invocation_id", COL_TEXT, 5},
};
static const struct column journal_columns[] = {
    {"partition_key", COL_U64, 0},
    {"id", COL_TEXT, 1},
    {"index", COL_U32, 2},
    {"entry_type", COL_TEXT, 3},
    {"name", COL_TEXT, 4},
    {"completed", COL_BOOL, S_NULL},
    {"invoked_id", COL_TEXT, 5},
    {"invoked_target", COL_TEXT, 6},
    {"sleep_wakeup_at", COL_TS, 7},
    {"promise_name", COL_TEXT, 8},
    {"raw", COL_BLOB, 9},
    {"raw_length", COL_U64, 10},
    {"version", COL_U32, 11},
    {"entry_json", COL_TEXT, 12},
    {"entry_lite_json", COL_TEXT, 13},
    {"appended_at", COL_TS, 14},
};
static const struct column event_columns[] = {
    {"partition_key", COL_U64, 0}, {"id", COL_TEXT, 1},         {"after_journal_entry_index", COL_U32, 2},
    {"appended_at", COL_TS, 3},    {"event_type", COL_TEXT, 4}, {"event_json", COL_TEXT, 5},
};
static const struct column state_columns[] = {
    {"partition_key", COL_U64, 0}, {"scope", COL_TEXT, 1}, {"service_name", COL_TEXT, 2},
    {"service_key", COL_TEXT, 3},  {"key", COL_TEXT, 4},   {"key_length", COL_U64, 5},
    {"value_utf8", COL_TEXT, 6},   {"value", COL_BLOB, 7}, {"value_length", COL_U64, 8},
};
static const struct column promise_columns[] = {
    {"partition_key", COL_U64, 0},
    {"scope", COL_TEXT, 1},
    {"service_name", COL_TEXT, 2},
    {"service_key", COL_TEXT, 3},
    {"key", COL_TEXT, 4},
    {"completed", COL_BOOL, 5},
    {"completion_success_value", COL_BLOB, 6},
    {"completion_success_value_utf8", COL_TEXT, 7},
    {"completion_failure", COL_TEXT, 8},
};
static const struct column inbox_columns[] = {
    {"partition_key", COL_U64, 0}, {"service_name", COL_TEXT, 1},   {"service_key", COL_TEXT, 2},
    {"id", COL_TEXT, 3},           {"sequence_number", COL_U64, 4}, {"created_at", COL_TS, 5},
};
static const struct column lock_columns[] = {
    {"partition_key", COL_U64, 0},
    {"service_name", COL_TEXT, 1},
    {"service_key", COL_TEXT, 2},
    {"invocation_id", COL_TEXT, 3},
};
static const struct column deployment_columns[] = {
    {"id", COL_TEXT, 0},
    {"ty", COL_TEXT, 1},
    {"endpoint", COL_TEXT, 2},
    {"created_at", COL_TS, 3},
    {"min_service_protocol_version", COL_U32, 4},
    {"max_service_protocol_version", COL_U32, 5},
    {"services", COL_LIST, 6},
};
static const struct column service_columns[] = {
    {"name", COL_TEXT, 0}, {"revision", COL_U64, 1},       {"public", COL_BOOL, 2},
    {"ty", COL_TEXT, 3},   {"deployment_id", COL_TEXT, 4},
};
static const struct column info_columns_columns[] = {
    {"table_catalog", COL_TEXT, 0}, {"table_schema", COL_TEXT, 1},    {"table_name", COL_TEXT, 2},
    {"column_name", COL_TEXT, 3},   {"ordinal_position", COL_U64, 4}, {"data_type", COL_TEXT, 5},
    {"is_nullable", COL_TEXT, 6},
};
static const struct column info_tables_columns[] = {
    {"table_catalog", COL_TEXT, 0},
    {"table_schema", COL_TEXT, 1},
    {"table_name", COL_TEXT, 2},
    {"table_type", COL_TEXT, 3},
};

/* Tables of features that this server does not have: empty. */
static const struct column locks_columns[] = {
    {"partition_key", COL_U64, 0}, {"scope", COL_TEXT, 0},       {"lock_name", COL_TEXT, 0},
    {"acquired_at", COL_TS, 0},    {"acquired_by", COL_TEXT, 0},
};
static const struct column rules_columns[] = {
    {"pattern", COL_TEXT, 0},  {"concurrency", COL_U32, 0}, {"description", COL_TEXT, 0},
    {"disabled", COL_BOOL, 0}, {"version", COL_U32, 0},     {"last_modified", COL_TS, 0},
};
static const struct column limits_columns[] = {
    {"partition_key", COL_U64, 0},
    {"scope", COL_TEXT, 0},
    {"l1", COL_TEXT, 0},
    {"l2", COL_TEXT, 0},
    {"level", COL_TEXT, 0},
    {"usage", COL_U32, 0},
    {"concurrency_limit", COL_U32, 0},
    {"rule_pattern", COL_TEXT, 0},
    {"available", COL_U32, 0},
    {"num_waiters", COL_U64, 0},
};
static const struct column vqueue_meta_columns[] = {
    {"partition_key", COL_U64, 0},
    {"id", COL_TEXT, 0},
    {"is_active", COL_BOOL, 0},
    {"queue_is_paused", COL_BOOL, 0},
    {"service_name", COL_TEXT, 0},
    {"scope", COL_TEXT, 0},
    {"limit_key", COL_TEXT, 0},
    {"lock_name", COL_TEXT, 0},
    {"created_at", COL_TS, 0},
    {"last_enqueued_at", COL_TS, 0},
    {"last_start_at", COL_TS, 0},
    {"last_attempt_at", COL_TS, 0},
    {"last_finish_at", COL_TS, 0},
    {"avg_queue_duration", COL_DUR, 0},
    {"avg_inbox_duration", COL_DUR, 0},
    {"avg_run_duration", COL_DUR, 0},
    {"avg_suspension_duration", COL_DUR, 0},
    {"avg_end_to_end_duration", COL_DUR, 0},
    {"avg_blocked_on_concurrency_rules", COL_DUR, 0},
    {"avg_blocked_on_invoker_concurrency", COL_DUR, 0},
    {"avg_blocked_on_invoker_throttling", COL_DUR, 0},
    {"avg_blocked_on_lock", COL_DUR, 0},
    {"num_inbox", COL_U64, 0},
    {"num_running", COL_U64, 0},
    {"num_suspended", COL_U64, 0},
    {"num_paused", COL_U64, 0},
    {"num_finished", COL_U64, 0},
};
static const struct column vqueues_columns[] = {
    {"partition_key", COL_U64, 0},    {"id", COL_TEXT, 0},
    {"stage", COL_TEXT, 0},           {"status", COL_TEXT, 0},
    {"has_lock", COL_BOOL, 0},        {"run_at", COL_TS, 0},
    {"sequence_number", COL_U64, 0},  {"entry_id", COL_TEXT, 0},
    {"entry_kind", COL_TEXT, 0},      {"created_at", COL_TS, 0},
    {"transitioned_at", COL_TS, 0},   {"num_attempts", COL_U32, 0},
    {"num_errors", COL_U32, 0},       {"num_pauses", COL_U32, 0},
    {"num_suspensions", COL_U32, 0},  {"num_yields", COL_U32, 0},
    {"first_attempt_at", COL_TS, 0},  {"latest_attempt_at", COL_TS, 0},
    {"first_runnable_at", COL_TS, 0}, {"deployment", COL_TEXT, 0},
};

#define COLUMNS(c) .columns = (c), .n_columns = ARRAY_SIZE(c)
#define NO_LOOKUP .id_column = -1, .key_column = -1, .pk_column = -1
const struct query_table query_tables[] = {
    {"sys_invocation", COLUMNS(invocation_columns), T_STATUS, 0, 4, -1, rows_status, NULL, true},
    {"sys_invocation_status", COLUMNS(status_columns), T_STATUS, 1, 8, 0, rows_status, NULL, false},
    {"sys_invocation_state", COLUMNS(attempt_columns), 0, 1, -1, -1, .nth = rows_attempt, .attempts = true},
    {"sys_idempotency", COLUMNS(idempotency_columns), T_STATUS, 5, 2, 0, rows_idempotency, NULL, false},
    {"sys_journal", COLUMNS(journal_columns), T_JOURNAL, 1, -1, 0, rows_journal, NULL, false},
    {"sys_journal_events", COLUMNS(event_columns), T_JOURNAL, 1, -1, 0, rows_event, NULL, false},
    {"state", COLUMNS(state_columns), T_STATE, -1, 3, 0, rows_state, NULL, false},
    {"sys_promise", COLUMNS(promise_columns), T_PROMISE, -1, 3, 0, rows_promise, NULL, false},
    {"sys_inbox", COLUMNS(inbox_columns), T_INBOX, -1, 2, 0, rows_inbox, NULL, false},
    {"sys_keyed_service_status", COLUMNS(lock_columns), T_LOCK, -1, 2, 0, rows_lock, NULL, false},
    {"sys_deployment", COLUMNS(deployment_columns), NO_LOOKUP, .nth = rows_deployment},
    {"sys_service", COLUMNS(service_columns), NO_LOOKUP, .nth = rows_service},
    {"sys_locks", COLUMNS(locks_columns), NO_LOOKUP, .nth = rows_none},
    {"sys_rules", COLUMNS(rules_columns), NO_LOOKUP, .nth = rows_none},
    {"sys_user_limits", COLUMNS(limits_columns), NO_LOOKUP, .nth = rows_none},
    {"sys_vqueue_meta", COLUMNS(vqueue_meta_columns), NO_LOOKUP, .nth = rows_none},
    {"sys_vqueues", COLUMNS(vqueues_columns), NO_LOOKUP, .nth = rows_none},
    {"information_schema_columns", COLUMNS(info_columns_columns), NO_LOOKUP, .nth = rows_info_columns},
    {"information_schema_tables", COLUMNS(info_tables_columns), NO_LOOKUP, .nth = rows_info_tables},
};
const size_t query_n_tables = ARRAY_SIZE(query_tables);
enum { N_LISTED = ARRAY_SIZE(query_tables) - 2 }; /* all but information_schema itself */

int rows_none(struct query_reader *r, size_t n, struct query_row *row) {
    return 0;
}

int rows_info_tables(struct query_reader *r, size_t n, struct query_row *row) {
    if (n >= N_LISTED)
        return 0;
    row_str(row, 0, "restate");
    row_str(row, 1, "public");
    row_str(row, 2, query_tables[n].name);
    row_str(row, 3, strcmp(query_tables[n].name, "sys_invocation") == 0 ? "VIEW" : "BASE TABLE");
    return 1;
}

int rows_info_columns(struct query_reader *r, size_t n, struct query_row *row) {
    size_t t = 0;

    while (t < N_LISTED && n >= query_tables[t].n_columns)
        n -= query_tables[t++].n_columns;
    if (t == N_LISTED)
        return 0;
    row_str(row, 0, "restate");
    row_str(row, 1, "public");
    row_str(row, 2, query_tables[t].name);
    row_str(row, 3, query_tables[t].columns[n].name);
    row_int(row, 4, n);
    row_str(row, 5, types[query_tables[t].columns[n].type].arrow);
    row_str(row, 6, "YES");
    return 1;
}
