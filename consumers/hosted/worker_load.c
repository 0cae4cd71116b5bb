/* SPDX-License-Identifier: BSD-3-Clause */
#include "consumers/hosted/worker_load.h"

#include <stdatomic.h>

#include "core/mem.h"

struct worker_load {
    atomic_uint refs;
    atomic_uint clients;
    atomic_uint_fast64_t taken; /* counted only when there is a limit */
    uint64_t most;
};

struct worker_load *worker_load_new(uint64_t most)
{
    struct worker_load *load = mem_alloc(sizeof(*load));
    atomic_init(&load->refs, 1);
    atomic_init(&load->clients, 0);
    atomic_init(&load->taken, 0);
    load->most = most;
    return load;
}

struct worker_load *worker_load_ref(struct worker_load *load)
{
    atomic_fetch_add_explicit(&load->refs, 1, memory_order_relaxed);
    return load;
}

void worker_load_unref(struct worker_load *load)
{
    if (atomic_fetch_sub_explicit(&load->refs, 1, memory_order_acq_rel) == 1)
        mem_free(load);
}

bool worker_load_enter(struct worker_load *load)
{
    atomic_fetch_add_explicit(&load->clients, 1, memory_order_relaxed);
    return load->most != 0 &&
           atomic_fetch_add_explicit(&load->taken, 1, memory_order_relaxed) + 1 == load->most;
}

void worker_load_leave(struct worker_load *load)
{
    atomic_fetch_sub_explicit(&load->clients, 1, memory_order_relaxed);
}

unsigned worker_load_clients(const struct worker_load *load)
{
    return atomic_load_explicit(&load->clients, memory_order_relaxed);
}
