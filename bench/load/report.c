/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/report.h"

#include "bench/load/clock.h"

#include <inttypes.h>

void tally_explain(struct tally *t, const char *text)
{
    if (t->first_error[0] == '\0')
        snprintf(t->first_error, sizeof(t->first_error), "%s", text);
}

static void print_count(FILE *out, const char *name, uint64_t count)
{
    fprintf(out, "\"%s\": %" PRIu64 ", ", name, count);
}

static void print_latency(FILE *out, const struct tally *t, const char *name, unsigned per_mille)
{
    fprintf(out, "\"%s\": %.1f, ", name,
            (double)histogram_quantile_ns(&t->latency, per_mille) / 1e3);
}

void tally_print(const struct tally *t, const char *scenario, unsigned open_connections, FILE *out)
{
    const double seconds = (double)t->wall_ns / (double)NS_PER_SECOND;
    const double cpu_seconds = (double)t->cpu_ns / (double)NS_PER_SECOND;

    fprintf(out, "result {\"scenario\": \"%s\", \"open\": %u, ", scenario, open_connections);
    print_count(out, "units", t->units);
    print_count(out, "expected", t->expected);
    print_count(out, "lost", t->lost);
    print_count(out, "reordered", t->reordered);
    print_count(out, "repeated", t->repeated);
    print_count(out, "mismatched", t->mismatched);
    print_count(out, "refused", t->refused);
    print_count(out, "closed", t->closed);
    print_latency(out, t, "p50_us", 500);
    print_latency(out, t, "p99_us", 990);
    fprintf(out, "\"most_us\": %.1f, ", (double)histogram_most_ns(&t->latency) / 1e3);
    fprintf(out, "\"seconds\": %.4f, \"per_second\": %.1f, \"load_cpu\": %.3f, ", seconds,
            seconds > 0 ? (double)t->units / seconds : 0.0,
            seconds > 0 ? cpu_seconds / seconds : 0.0);
    fprintf(out, "\"error\": \"%s\"}\n", t->first_error);
    fflush(out);
}
