// From the command line to a plan, and from a result to the files asked for.
#pragma once

#include "bench/bench.h"
#include "bench/plan.h"
#include "bench/record.h"
#include "core/status.h"

namespace verge::bench {

Result<Plan> plan_of(const LoadOptions& options, int64_t batch);
// Prints the summary and writes JSON and HTML; with `compare`, beside that result.
Status show(const Record& record, const LoadOptions& options);
// How many parts a run's time line has.
size_t slots_of(double seconds);

}  // namespace verge::bench
