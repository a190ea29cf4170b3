/* SPDX-License-Identifier: Apache-2.0 */
/* log/chain_writer.h : the logs configuration as this node knows it, and the one place that changes it: operations of
 * many logs in one turn become one compare-and-swap. Own loop. */
#pragma once
#include "log/chain.h"
#include "meta/meta.h"

struct chain_writer {
    struct loop *loop;
    struct meta *meta;
    struct meta_watch watch;
    struct logs_config *current; /* NULL: not known yet; replaced, never changed in place */
    struct list queue;           /* operations for the next write */
    struct list writing;
    struct logs_config *next; /* what is being written */
    struct buf next_text;
    struct loop_hook flush;
    bool cas_running, wait_newer;
    struct chain_cas *cas;
    void (*changed)(void *arg); /* @current is another one */
    void *arg;
};
void chain_writer_init(struct chain_writer *w, struct loop *loop, struct meta *meta, void (*changed)(void *arg),
                       void *arg);
/* chain_writer_done() - operations under way are not answered. */
void chain_writer_done(struct chain_writer *w);
/* chain_writer_submit() - @op stays the caller's; its done runs in a later turn with the status of chain_apply() (0 for
 * 1 as well) once the configuration is durable, or RS_EIO and others when it cannot be written. */
void chain_writer_submit(struct chain_writer *w, struct chain_op *op);
void chain_writer_cancel(struct chain_writer *w, struct chain_op *op); /* it may still happen; done does not run */
